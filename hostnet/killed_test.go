package hostnet

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// childEnv holds the state file of a test binary that is to be a daemon.
const childEnv = "HOSTNET_TEST_DAEMON"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := beDaemon(path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// beDaemon does as standard input wishes, and stays.
func beDaemon(path string) error {
	var d Desired
	if err := json.NewDecoder(os.Stdin).Decode(&d); err != nil {
		return err
	}
	if d.Device == "braid0" {
		tun, err := createTUN(d.Device)
		if err != nil {
			return err
		}
		defer tun.Close()
	}
	k, err := OpenHost()
	if err != nil {
		return err
	}
	if err := New(k, path, slog.New(slog.DiscardHandler)).Apply(d); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// daemon starts a process in the namespace that makes d so.
func (s *space) daemon(path string, d Desired) *exec.Cmd {
	s.t.Helper()
	wish, err := json.Marshal(d)
	if err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+path)
	c.Stdin = strings.NewReader(string(wish))
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.do(func() { err = c.Start() }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		s.t.Fatalf("the daemon says %q, %v", line, err)
	}
	return c
}

func killedWish(device string) Desired {
	d := fullTunnel()
	d.Device = device
	d.Uplinks = nil
	d.Forwarding = true
	d.Masquerade = prefixes("10.77.0.0/24")
	d.KillSwitch = KillSwitch{Device: device, Routes: prefixes("0.0.0.0/0", "::/0"), Servers: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:443")}}
	return d
}

// A daemon is killed: Cleanup, or the next daemon, finds everything.
func TestKernelKilled(t *testing.T) {
	for name, device := range map[string]string{"TUN goes too": "braid0", "TUN stays": "stays0"} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			s.ip("tuntap add mode tun name stays0")
			s.veth("wan", newSpace(t), "wan")
			s.ip("addr add 192.0.2.7/24 dev wan\nroute add default via 192.0.2.1")
			s.sysctl("net.ipv4.conf.wan.rp_filter", "1")
			s.sysctl("net.ipv6.conf.stays0.addr_gen_mode", "1")
			before := s.snapshot()
			k := s.host()
			dir := stateDir(t)
			path := StatePath(dir, device)
			wish := killedWish(device)
			inv, err := k.inventory()
			if err != nil {
				t.Fatal(err)
			}
			wish.Uplinks = findUplinks(inv, nil)

			c := s.daemon(path, wish)
			if _, err := Cleanup(k, dir); err == nil {
				t.Error("Cleanup says nothing about a daemon that runs")
			}
			if got := s.routeTo("203.0.113.5"); got != device {
				t.Errorf("while it runs, packets go out by %s", got)
			}
			closed, err := KillSwitches(k, dir)
			if err != nil || len(closed) != 1 || closed[0].Owner != c.Process.Pid {
				t.Errorf("kill switches while it runs: %+v, %v", closed, err)
			}
			c.Process.Kill()
			c.Wait()
			closed, err = KillSwitches(k, dir)
			if err != nil || len(closed) != 1 || closed[0] != (ClosedSwitch{Device: device}) {
				t.Errorf("kill switches after its death: %+v, %v", closed, err)
			}
			report, err := Cleanup(k, dir)
			if err != nil || len(report.Removed) == 0 || len(report.Left) > 0 {
				t.Errorf("Cleanup: %+v, %v", report, err)
			}
			s.mustBeAsBefore(before)
			mustBeGone(t, path)

			// Killed again, and a new one takes over: it restores what the
			// first had found.
			c = s.daemon(path, wish)
			c.Process.Kill()
			c.Wait()
			c = s.daemon(path, wish)
			c.Process.Kill()
			c.Wait()
			m := New(k, path, slog.New(slog.DiscardHandler))
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
			s.mustBeAsBefore(before)

			// Of another namespace: left alone.
			c = s.daemon(path, wish)
			c.Process.Kill()
			c.Wait()
			report, err = Cleanup(newSpace(t).host(), dir)
			if err != nil || len(report.Removed) > 0 || len(report.Left) != 1 {
				t.Errorf("Cleanup elsewhere: %+v, %v", report, err)
			}
			if list, _ := filepath.Glob(filepath.Join(dir, "*"+stateSuffix)); len(list) != 1 {
				t.Errorf("state files: %v", list)
			}
		})
	}
}
