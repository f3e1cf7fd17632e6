package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"braid/lab"
	"braid/lab/daemon"
)

// Groups that may use the control sockets, and a user in one of them.
const (
	changersGID = 64_301
	readersGID  = 64_302
	someUser    = 64_303
)

const metricsAddress = "127.0.0.1:9477"

// Daemons as their units start them, with groups that may use the control sockets
// and metrics: who may do what, and whether the metrics say what the status does.
func TestAccessAndMetrics(t *testing.T) {
	needStreams(t)
	t.Parallel()
	top := fmt.Sprintf("control_group = \"%d\"\ncontrol_readers = \"%d\"\n", changersGID, readersGID)
	table := "\n[metrics]\nlisten = \"" + metricsAddress + "\"\n"
	through := func(role string) []string {
		c := asService(t, role)
		for i := range c { // SupplementaryGroups=
			c[i] = strings.Replace(c[i], "--clear-groups", fmt.Sprintf("--groups %d,%d", changersGID, readersGID), 1)
		}
		return c
	}
	w := begin(t, cellA(), daemon.Options{
		Server: top, Tunnel: table, ClientTop: top, ClientMore: table, User: serviceUser, Through: through,
	})
	for _, d := range []*daemon.Daemon{w.Client, w.Server} { // as /run is
		w.must(os.Chmod(filepath.Dir(d.RunDir()), 0o755))
	}

	w.metricsAreTheStatus()
	w.groupsMay()

	// Moved by a reload.
	config, err := os.ReadFile(w.Client.ConfigFile())
	w.must(err)
	w.must(w.Client.Rewrite(strings.Replace(string(config), metricsAddress, "127.0.0.1:9478", 1)))
	if out, code := w.asMember(changersGID, "reload", "--control", socketOf(w.Client)); code != 0 || out != "changed: metrics.listen\n" {
		t.Errorf("exit code %d: %s", code, out)
	}
	w.run(w.Net.Client, "curl", "-sS", "--fail", "--max-time", "10", "-o", "/dev/null", "http://127.0.0.1:9478/metrics")
	if _, err := w.Net.Client.Run(w.ctx, "curl", "-sS", "--max-time", "5", "http://"+metricsAddress+"/metrics"); err == nil {
		t.Error("the former address answers still")
	}
}

// socketOf is a daemon's control socket.
func socketOf(d *daemon.Daemon) string {
	role := strings.TrimSuffix(filepath.Base(d.ConfigFile()), ".toml")
	return filepath.Join(d.RunDir(), role+".sock")
}

// asMember runs braid as a user with one group besides his own.
func (w *world) asMember(group int, args ...string) (out string, code int) {
	w.Helper()
	c := exec.CommandContext(w.ctx, "setpriv", append([]string{"--reuid", strconv.Itoa(someUser), "--regid", strconv.Itoa(someUser),
		"--groups", strconv.Itoa(group), "--inh-caps=-all", "--bounding-set=-all", "--", binary}, args...)...)
	b, _ := c.CombinedOutput()
	return string(b), c.ProcessState.ExitCode()
}

// groupsMay looks what members of the groups may do, and others.
func (w *world) groupsMay() {
	w.Helper()
	client, server := socketOf(w.Client), socketOf(w.Server)
	for _, test := range []struct {
		group int
		args  []string
		code  int
		want  []string
	}{
		{readersGID, []string{"status", "--control", client}, 0, []string{"client up", "dsl"}},
		{readersGID, []string{"status", "--control", server}, 0, []string{"home"}},
		{readersGID, []string{"uplink", "--control", client}, 0, []string{"dsl"}},
		{readersGID, []string{"uplink", "lte", "role", "backup", "--control", client}, 1, []string{
			"error: this user may read how braid is, and change nothing", fmt.Sprintf("member of the group %d: changes are made on %s", changersGID, client)}},
		{readersGID, []string{"reload", "--control", server}, 1, []string{"change nothing", server}},
		{changersGID, []string{"status", "--control", client}, 0, []string{"client up"}},
		{changersGID, []string{"uplink", "lte", "role", "backup", "--control", client}, 0, nil},
		{changersGID, []string{"uplink", "lte", "role", "default", "--control", client}, 0, nil},
		{changersGID, []string{"reload", "--control", server}, 0, []string{"nothing has changed"}},
		{someUser, []string{"status", "--control", client}, 1, []string{"permission denied", "control_readers"}},
		{someUser, []string{"reload", "--control", client}, 1, []string{"permission denied"}},
	} {
		out, code := w.asMember(test.group, test.args...)
		if code != test.code {
			w.Errorf("%d: %v: exit code %d: %s", test.group, test.args, code, out)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				w.Errorf("%d: %v: no %q in %s", test.group, test.args, want, out)
			}
		}
	}
}

// scrape is the metrics of a daemon: values by series.
func (w *world) scrape(h *lab.Host) map[string]float64 {
	w.Helper()
	text := w.run(h, "curl", "-sS", "--fail", "--compressed", "--max-time", "10", "http://"+metricsAddress+"/metrics")
	all := map[string]float64{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if series, value, ok := strings.Cut(s.Text(), " "); ok && !strings.HasPrefix(s.Text(), "#") {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				continue // a label with spaces
			}
			all[series] = v
		}
	}
	return all
}

// counted is what the test compares of a status.
type counted struct {
	Session struct{ State string }
	Uplinks []struct {
		Interface string
		State     string
		RxBytes   float64 `json:"rx_bytes"`
		TxBytes   float64 `json:"tx_bytes"`
		BeatsSent float64 `json:"beats_sent"`
	}
	Streams struct{ Opened float64 }
	Packets struct {
		RxPackets float64 `json:"rx_packets"`
	}
}

// metricsAreTheStatus compares the metrics of both daemons with what is known.
func (w *world) metricsAreTheStatus() {
	w.Helper()
	w.curl(w.Net.InternetAddr4, 3_000_000)
	w.run(w.Net.Client, "ping", "-q", "-c", "3", "-i", "0.1", w.Net.InternetAddr4.String())
	status := func() (c counted) {
		w.must(json.Unmarshal([]byte(w.statusText(w.Client, "--json")), &c))
		return c
	}
	// Bytes go on while nobody asks for any: heartbeats.
	before, got, after := status(), w.scrape(w.Net.Client), status()
	between := func(series string, low, high float64) {
		w.Helper()
		if v, ok := got[series]; !ok || v < low || v > high {
			w.Errorf("%s is %v, %v; the status says %v to %v", series, v, ok, low, high)
		}
	}
	between("braid_session_up", 1, 1)
	between("braid_session_mptcp", 1, 1)
	between("braid_streams_opened_total", max(before.Streams.Opened, 1), after.Streams.Opened)
	between("braid_tunnel_receive_packets_total", max(before.Packets.RxPackets, 3), after.Packets.RxPackets)
	for i, u := range before.Uplinks {
		label := fmt.Sprintf("{uplink=%q}", u.Interface)
		between("braid_uplink_receive_bytes_total"+label, u.RxBytes, after.Uplinks[i].RxBytes)
		between("braid_uplink_transmit_bytes_total"+label, u.TxBytes, after.Uplinks[i].TxBytes)
		between("braid_uplink_heartbeats_sent_total"+label, max(u.BeatsSent, 1), after.Uplinks[i].BeatsSent)
		between(fmt.Sprintf("braid_uplink_state{state=%q,uplink=%q}", u.State, u.Interface), 1, 1)
	}
	got = w.scrape(w.Net.Server)
	between("braid_clients", 1, 1)
	between(`braid_session_up{client="home"}`, 1, 1)
	between(`braid_streams_opened_total{client="home"}`, 1, 1000)
	between(`braid_egress_decisions_total{reason="default"}`, 1, 1000)
	between(`braid_uplink_state{client="home",state="up",uplink="dsl"}`, 1, 1)
	between(`braid_uplink_transmit_bytes_total{client="home",uplink="dsl"}`, 100_000, 10_000_000)

	// From elsewhere there is nothing.
	if _, err := w.Net.Client.Run(context.WithoutCancel(w.ctx), "curl", "-sS", "--max-time", "5", fmt.Sprintf("http://%v:9477/metrics", daemon.Server4)); err == nil {
		w.Error("a client reads the metrics of its server")
	}
}
