//go:build packages

package install

import "strings"

// aGroupReads gives a group of the machine leave to read, as docs/operations.md
// says, and takes it back.
func aGroupReads(client *real, config string) {
	client.Helper()
	const folder = "/etc/systemd/system/braid-client.service.d"
	client.write("/etc/braid/client.toml", "control_readers = \"adm\"\n"+config)
	if _, err := client.system.Run(client.Context(), "systemctl", "restart", "braid-client"); err == nil {
		client.Error("the service gives away what it may not")
	}
	if s := client.unit("ActiveState") + " " + client.unit("ExecMainStatus"); s != "failed 2" {
		client.Errorf("its unit is %q", s)
	}
	client.write(folder+"/override.conf", "[Service]\nSupplementaryGroups=adm\n")
	client.do("systemctl", "daemon-reload")
	client.do("systemctl", "restart", "braid-client")
	up(client)
	member := func(args ...string) (string, error) {
		out, err := client.system.Run(client.Context(), "setpriv", append([]string{"--reuid", "games", "--regid", "games", "--groups", "adm", "--"}, args...)...)
		return string(out), err
	}
	if out, err := member("braid", "status"); err != nil || !strings.Contains(out, "client up") {
		client.Errorf("a reader is told: %s, %v", out, err)
	}
	if out, err := member("braid", "reload"); err == nil || !strings.Contains(err.Error()+out, "change nothing") {
		client.Errorf("a reader reloads: %s, %v", out, err)
	}
	client.do("rm", "-r", folder)
	client.write("/etc/braid/client.toml", config)
	client.do("systemctl", "daemon-reload")
	client.do("systemctl", "restart", "braid-client")
	up(client)
}
