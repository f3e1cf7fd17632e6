package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/lab/daemon"
)

// A host without a program for it: the file is replaced, and names go through the
// tunnel and nowhere else, whatever becomes of uplinks, of the file, and of the client.
func TestNamesByFile(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "")
	w.resolvConf(w.provider("dsl"))
	w.says("before", wrongAddr)
	w.must(w.Setup.Start(w.patient()))
	w.setBy("/etc/resolv.conf")
	leaks := w.watchLeaks()
	w.says("with the tunnel", rightAddr)
	if conf := w.nameservers(); !strings.Contains(conf, "search home.test\n") {
		t.Errorf("the search domains are gone:\n%s", conf)
	}
	for _, more := range [][]string{{"+tcp"}, {"+dnssec", "+bufsize=1232"}} {
		args := append([]string{"+short", "+tries=1", "@" + forwarderAddr, aName, "A"}, more...)
		if out := w.run(w.Net.Client, "dig", args...); strings.TrimSpace(out) != rightAddr.String() {
			t.Errorf("dig %v printed %q", more, out)
		}
	}

	// Somebody else writes the file.
	w.resolvConf(w.provider("lte"))
	w.waitConf("after a DHCP client", forwarderAddr)

	// The client is killed: nobody answers, and nobody else is asked.
	w.must(w.Client.Kill())
	for range 3 {
		if got := w.ask(); got.IsValid() {
			t.Errorf("after a kill %s is %v", aName, got)
		}
	}
	// Nor while the next one has no session yet.
	w.must(w.Server.Stop())
	w.must(w.Client.Start(w.patient()))
	if got := w.ask(); got.IsValid() {
		t.Errorf("before there is a session %s is %v", aName, got)
	}
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.says("after a kill and a start", rightAddr)
	leaks.none()

	w.must(w.Client.Stop())
	if got := w.nameservers(); got != w.provider("lte") {
		t.Errorf("at exit resolv.conf is\n%s", got)
	}
	w.says("after exit", wrongAddr)

	// Cleanup puts it back as well.
	w.must(w.Client.Start(w.patient()))
	w.setBy("/etc/resolv.conf")
	w.must(w.Client.Kill())
	w.run(w.Net.Client, binary, "cleanup", "--dir", w.Client.RunDir())
	if got := w.nameservers(); got != w.provider("lte") {
		t.Errorf("after cleanup resolv.conf is\n%s", got)
	}
	if out := w.run(w.Net.Client, "sh", "-c", "ls /etc/resolv.conf*"); out != "/etc/resolv.conf\n" {
		t.Errorf("left: %s", out)
	}
}

// waitConf waits until the client's resolv.conf names a nameserver.
func (w *world) waitConf(when, server string) {
	w.Helper()
	for end := time.Now().Add(patience); !strings.Contains(w.nameservers(), "nameserver "+server+"\n"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%s: resolv.conf is\n%s", when, w.nameservers())
		}
	}
}

// An uplink falls silent in the middle of lookups, then the other one: none waits for
// the C library's five seconds, and none leaves beside the tunnel.
func TestNamesWhileUplinkDies(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "")
	w.resolvConf(w.provider("dsl"))
	w.must(w.Setup.Start(w.patient()))
	w.setBy("/etc/resolv.conf")
	leaks := w.watchLeaks()
	for _, dead := range []string{"dsl", "lte"} {
		stop := make(chan struct{})
		time.AfterFunc(5*time.Second, func() { close(stop) })
		time.AfterFunc(time.Second, func() { _ = w.BlackHole(true, dead) })
		took, err := w.lookups(stop)
		w.must(err)
		slices.Sort(took)
		longest := took[len(took)-1]
		t.Logf("%s falls silent: of %d lookups the median took %v, 99 %% at most %v, the longest %v (goal 1 s)", dead, len(took),
			took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), longest.Round(time.Millisecond))
		if longest > 4*time.Second { // of a noisy machine; five is the C library's
			t.Errorf("a lookup took %v", longest)
		}
		w.must(w.BlackHole(false, dead))
		w.must(w.Client.WaitUp(w.patient(), 2))
	}
	leaks.none()
}

// The client's user has the last word, and a split tunnel changes nothing by itself.
func TestNamesByChoice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more string
		want netip.Addr
	}{
		"off":                    {"dns = []", wrongAddr},
		"split":                  {`routes = ["203.0.113.0/24"]`, wrongAddr},
		"split, with one of his": {"routes = [\"203.0.113.0/24\"]\ndns = [\"" + internet4 + "\"]", rightAddr},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := namesWorld(t, c.more+"\n")
			w.resolvConf(w.provider("dsl"))
			w.must(w.Setup.Start(w.patient()))
			if c.want == rightAddr {
				w.must(w.Client.WaitFor(w.patient(), "with nameservers", func(s daemon.Status) bool { return len(s.DNS.SetBy) == 1 }))
			} else if w.nameservers() != w.provider("dsl") {
				t.Errorf("resolv.conf is\n%s", w.nameservers())
			}
			w.says("with the tunnel", c.want)
		})
	}
}

// Another DNS server has port 53 of all addresses: programs ask the tunnel's servers
// themselves.
func TestNamesWithoutForwarder(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "")
	other, err := w.Net.Client.ListenPacket(w.ctx, "udp4", ":53")
	w.must(err)
	defer other.Close()
	w.resolvConf(w.provider("dsl"))
	w.must(w.Setup.Start(w.patient()))
	w.setBy("/etc/resolv.conf")
	leaks := w.watchLeaks()
	w.waitConf("at once", internet4)
	w.says("with the tunnel", rightAddr)
	leaks.none()
	w.must(w.Client.Stop())
	if got := w.nameservers(); got != w.provider("dsl") {
		t.Errorf("at exit resolv.conf is\n%s", got)
	}
	if !strings.Contains(w.Client.Log(), "no DNS forwarder") {
		t.Error("nothing in the log")
	}
}
