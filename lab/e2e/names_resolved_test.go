package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A bus on which everybody may do everything.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true"/><allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>`

// startResolved runs D-Bus and systemd-resolved, the real ones, in the client's host,
// and tells it an uplink's nameserver as networkd would.
func (w *world) startResolved() (resolvectl string) {
	w.Helper()
	h := w.Net.Client
	files := w.unpacked("systemd-resolved")
	config := filepath.Join(w.TempDir(), "bus.conf")
	w.must(os.WriteFile(config, []byte(busConfig), 0o644))
	// Neither needs systemd, but its user and its folder.
	w.run(h, "sh", "-ec", `mkdir -p /run/dbus /run/systemd/resolve
		grep -q ^systemd-resolve: /etc/passwd || echo systemd-resolve:x:64997:64997::/:/usr/sbin/nologin >>/etc/passwd
		grep -q ^systemd-resolve: /etc/group || echo systemd-resolve:x:64997: >>/etc/group
		chown systemd-resolve:systemd-resolve /run/systemd/resolve`)
	start := func(ready string, command ...string) {
		p, err := h.Start(context.WithoutCancel(w.ctx), exec.Command(command[0], command[1:]...))
		w.must(err)
		for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if _, err := h.Run(w.ctx, "sh", "-c", ready); err == nil {
				return
			}
			if time.Now().After(end) {
				w.Fatalf("%s does not run:\n%s", command[0], p.Output())
			}
		}
	}
	start("test -S /run/dbus/system_bus_socket", "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	resolvectl = filepath.Join(files, "usr/bin/resolvectl")
	start(resolvectl+" status", filepath.Join(files, "lib/systemd/systemd-resolved"))
	w.run(h, resolvectl, "dns", "dsl", w.Net.RouterAddr4("dsl").String())
	return resolvectl
}

// A host with systemd-resolved, to whose stub resolv.conf points, or which programs
// pass by.
func TestNamesByResolved(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "")
	resolvectl := w.startResolved()
	w.run(w.Net.Client, "ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
	before := w.nameservers()
	w.says("before", wrongAddr)
	w.must(w.Setup.Start(w.patient()))
	w.setBy("systemd-resolved")
	leaks := w.watchLeaks()
	w.run(w.Net.Client, resolvectl, "flush-caches")
	for range 5 {
		w.says("with the tunnel", rightAddr)
		w.run(w.Net.Client, resolvectl, "flush-caches")
	}
	// Programs that ask it directly, as nss-resolve does.
	if out := w.run(w.Net.Client, resolvectl, "query", "-4", aName); !strings.Contains(out, rightAddr.String()) {
		t.Errorf("resolvectl says %s", out)
	}
	if w.nameservers() != before {
		t.Errorf("resolv.conf is\n%s", w.nameservers())
	}

	// Some forget what they were told.
	w.run(w.Net.Client, resolvectl, "revert", "braid0")
	w.must(w.Client.Stop())
	leaks.none()
	w.must(w.Client.Start(w.patient()))
	w.setBy("systemd-resolved")
	w.must(w.Client.Stop())
	w.run(w.Net.Client, resolvectl, "flush-caches")
	w.says("after exit", wrongAddr)

	// Killed: with its device goes what it was told.
	w.must(w.Client.Start(w.patient()))
	w.setBy("systemd-resolved")
	w.must(w.Client.Kill())
	w.run(w.Net.Client, resolvectl, "flush-caches")
	w.says("after a kill", wrongAddr)
	w.run(w.Net.Client, binary, "cleanup", "--dir", w.Client.RunDir())

	// A file that passes it by is changed as well.
	w.run(w.Net.Client, "rm", "/etc/resolv.conf")
	w.resolvConf(w.provider("lte"))
	w.must(w.Client.Start(w.patient()))
	w.setBy("systemd-resolved", "/etc/resolv.conf")
	w.says("with both", rightAddr)
	w.must(w.Client.Stop())
	if got := w.nameservers(); got != w.provider("lte") {
		t.Errorf("at exit resolv.conf is\n%s", got)
	}
}

// The two programs of the name resolvconf, the real ones, from where their paths are
// those of the host's own files.
func TestNamesByResolvconf(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"openresolv": `cp -a "$1"/lib/resolvconf /etc/resolvconf.lib
			cp "$1"/etc/resolvconf.conf /etc/
			sed 's|^LIBEXECDIR=.*|LIBEXECDIR=/etc/resolvconf.lib|' "$1"/sbin/resolvconf >/usr/local/sbin/resolvconf
			sed -i 's|^LIBEXECDIR=.*|LIBEXECDIR=/etc/resolvconf.lib|' /etc/resolvconf.lib/libc
			rm -rf /etc/resolvconf /etc/resolvconf.lib/libc.d`,
		"resolvconf": `cp -a "$1"/lib/resolvconf /etc/resolvconf.lib
			rm -rf /etc/resolvconf
			cp -a "$1"/etc/resolvconf /etc/resolvconf
			sed 's|/lib/resolvconf/|/etc/resolvconf.lib/|' "$1"/sbin/resolvconf >/usr/local/sbin/resolvconf
			sed -i 's|/lib/resolvconf/|/etc/resolvconf.lib/|' /etc/resolvconf/update.d/libc
			ln -sf ../run/resolvconf/resolv.conf /etc/resolv.conf
			mkdir -p /run/resolvconf/interface
			chmod +x /usr/local/sbin/resolvconf
			resolvconf --enable-updates`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := namesWorld(t, "")
			w.run(w.Net.Client, "sh", "-exc", "mount -t tmpfs tmpfs /usr/local/sbin; echo >/etc/resolv.conf; "+prepare+
				"\nchmod +x /usr/local/sbin/resolvconf", "sh", w.unpacked(name))
			tell := func(uplink string) {
				w.run(w.Net.Client, "sh", "-exc", "printf 'nameserver %s\\n' "+w.Net.RouterAddr4(uplink).String()+" | resolvconf -a "+uplink)
			}
			tell("dsl")
			w.says("before", wrongAddr)
			before := w.nameservers()
			w.must(w.Setup.Start(w.patient()))
			w.setBy("resolvconf")
			leaks := w.watchLeaks()
			w.says("with the tunnel", rightAddr)
			tell("lte") // and another lease
			w.says("with another lease", rightAddr)
			if conf := w.nameservers(); strings.Contains(conf, "nameserver 10.") {
				t.Errorf("resolv.conf has others as well:\n%s", conf)
			}
			w.must(w.Client.Kill())
			if got := w.ask(); got.IsValid() {
				t.Errorf("after a kill %s is %v", aName, got)
			}
			w.must(w.Client.Start(w.patient()))
			w.must(w.Client.WaitUp(w.patient(), 2))
			w.says("after a kill and a start", rightAddr)
			leaks.none()
			w.must(w.Client.Stop())
			w.says("after exit", wrongAddr)
			w.run(w.Net.Client, "sh", "-c", "resolvconf -d lte")
			if after := w.nameservers(); after != before {
				t.Errorf("resolv.conf was\n%sand is\n%s", before, after)
			}
		})
	}
}

// The server's own name is found beside the tunnel: at first, when there is no session,
// and after a kill, when resolv.conf still names a forwarder that is not there.
func TestNameOfServer(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*world){
		"/etc/resolv.conf": func(w *world) { w.resolvConf(w.provider("dsl")) },
		"systemd-resolved": func(w *world) {
			w.startResolved()
			w.run(w.Net.Client, "ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
		},
	} {
		t.Run(strings.Trim(name, "/"), func(t *testing.T) {
			t.Parallel()
			w := namesWorld(t, "")
			config, err := os.ReadFile(w.Client.ConfigFile())
			w.must(err)
			w.must(w.Client.Rewrite(strings.Replace(string(config), w.Net.ServerAddr4.String(), serverName, 1)))
			prepare(w)
			w.must(w.Setup.Start(w.patient()))
			w.setBy(name)
			w.says("with the tunnel", rightAddr)

			// The server is away until the client asks for its name again.
			w.must(w.Server.Stop())
			time.Sleep(time.Second)
			w.must(w.Server.Start(w.patient()))
			w.must(w.Client.WaitUp(w.patient(), 2))

			w.must(w.Client.Kill())
			w.must(w.Client.Start(w.patient()))
			w.must(w.Client.WaitUp(w.patient(), 2))
			w.setBy(name)
			w.says("after a kill and a start", rightAddr)
		})
	}
}
