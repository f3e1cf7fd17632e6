package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// Where names lead: what the DNS servers behind the tunnel say, and what those of
// the uplinks' providers do. So each answer tells who was asked.
var (
	rightAddr = netip.MustParseAddr("198.51.100.77")
	wrongAddr = netip.MustParseAddr("198.51.100.66")
)

const aName = "braid.test"

// serverName is that of the server, where a configuration has one.
const serverName = "vpn.test"

// forwarderAddr is where a client's DNS forwarder listens.
const forwarderAddr = "127.98.0.53"

// namesWorld is a world whose client's host has files of its own, whose server gives
// DNS servers, and whose uplinks' routers answer names as well. Nothing runs yet.
func namesWorld(t *testing.T, more string) *world {
	t.Helper()
	w := prepare(t, cellA(), daemon.Options{
		Tunnel: fmt.Sprintf("dns = [%q, %q]\n", internet4, internet6), ClientMore: more,
	})
	w.must(w.Net.Client.OwnFiles())
	serve := func(h *lab.Host, at, answer netip.Addr) {
		s, err := probe.ServeDNS(h, netip.AddrPortFrom(at, 53).String(), map[string][]netip.Addr{
			aName: {answer}, serverName: {w.Net.ServerAddr4},
		})
		w.must(err)
		t.Cleanup(func() { s.Close() })
	}
	serve(w.Net.Internet, w.Net.InternetAddr4, rightAddr)
	serve(w.Net.Internet, w.Net.InternetAddr6, rightAddr)
	serve(w.Net.Routers["dsl"], w.Net.RouterAddr4("dsl"), wrongAddr)
	serve(w.Net.Routers["lte"], w.Net.RouterAddr4("lte"), wrongAddr)
	w.serveTCPNames()
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// The addresses of the internet host in every network of the lab.
const internet4, internet6 = "192.0.2.2", "2001:db8:b000::2"

// serveTCPNames answers names over TCP behind the tunnel.
func (w *world) serveTCPNames() {
	w.Helper()
	l, err := w.Net.Internet.Listen(w.ctx, "tcp", netip.AddrPortFrom(w.Net.InternetAddr4, 53).String())
	w.must(err)
	started, ended := make(chan struct{}), make(chan struct{})
	s := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: rightAddr.AsSlice()}}
		_ = rw.WriteMsg(m)
	})}
	go func() { defer close(ended); _ = s.ActivateAndServe() }()
	<-started
	w.Cleanup(func() { _ = s.Shutdown(); <-ended })
}

// resolvConf writes the client's /etc/resolv.conf as a DHCP client does.
func (w *world) resolvConf(content string) {
	w.Helper()
	w.must(w.Net.Client.Do(func() error {
		const path = "/etc/resolv.conf"
		return errors.Join(os.WriteFile(path+".dhclient-new", []byte(content), 0o644), os.Rename(path+".dhclient-new", path))
	}))
}

// nameservers is the client's /etc/resolv.conf.
func (w *world) nameservers() string { return w.run(w.Net.Client, "cat", "/etc/resolv.conf") }

// provider is what a DHCP client writes on an uplink.
func (w *world) provider(uplink string) string {
	return fmt.Sprintf("search home.test\nnameserver %v\n", w.Net.RouterAddr4(uplink))
}

// ask looks a name up as programs do, by the C library; zero: it fails.
func (w *world) ask() netip.Addr {
	w.Helper()
	out, err := w.Net.Client.Run(w.ctx, "getent", "ahostsv4", aName)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(strings.Fields(string(out))[0])
	w.must(err)
	return addr
}

// says checks who answers, which may take a moment.
func (w *world) says(when string, want netip.Addr) {
	w.Helper()
	var got netip.Addr
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if got = w.ask(); got == want {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%s: %s is %v, want %v; resolv.conf:\n%s", when, aName, got, want, w.nameservers())
		}
	}
}

// setBy checks how the client has told its host.
func (w *world) setBy(want ...string) {
	w.Helper()
	w.must(w.Client.WaitFor(w.patient(), "with nameservers", func(s daemon.Status) bool {
		return slices.Equal(s.DNS.SetBy, want) && slices.Equal(s.DNS.Servers, []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6})
	}))
}

// leaks listens on the client's uplinks for DNS outside of carriers.
type leaks struct {
	w       *world
	capture []*lab.Process
}

// watchLeaks begins to listen.
func (w *world) watchLeaks() *leaks {
	w.Helper()
	l := &leaks{w: w}
	for _, uplink := range []string{"dsl", "lte"} {
		p, err := w.Net.Client.Start(w.ctx, exec.Command("tcpdump", "-lnn", "--immediate-mode", "-i", uplink, "port 53 or port 853"))
		w.must(err)
		for end := time.Now().Add(patience); !strings.Contains(string(p.Output()), "listening on"); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				w.Fatalf("tcpdump: %s", p.Output())
			}
		}
		l.capture = append(l.capture, p)
	}
	return l
}

// seen is the packets so far.
func (l *leaks) seen() (packets []string) {
	for _, p := range l.capture {
		for line := range strings.Lines(string(p.Output())) {
			if strings.Contains(line, ".53") && strings.Contains(line, "IP") {
				packets = append(packets, strings.TrimSpace(line))
			}
		}
	}
	return packets
}

// none checks that there was none, and that one would have been seen.
func (l *leaks) none() {
	l.w.Helper()
	if seen := l.seen(); len(seen) > 0 {
		l.w.Errorf("%d packets beside the tunnel:\n%s", len(seen), strings.Join(seen, "\n"))
	}
	for _, uplink := range []string{"dsl", "lte"} { // reached beside the tunnel, as all of a LAN
		at := l.w.Net.RouterAddr4(uplink).String()
		l.w.run(l.w.Net.Client, "dig", "+short", "+tries=3", "@"+at, aName, "A")
		for end := time.Now().Add(patience); !slices.ContainsFunc(l.seen(), func(s string) bool { return strings.Contains(s, at+".53") }); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				l.w.Fatalf("what was sent to %s was not seen", at)
			}
		}
	}
	for _, p := range l.capture {
		l.w.must(p.Stop(patience))
	}
}

// lookups asks the forwarder for names one after the other, every 20 ms, until stop is
// closed, and returns how long each took.
func (w *world) lookups(stop <-chan struct{}) (took []time.Duration, err error) {
	type result struct {
		took time.Duration
		err  error
	}
	results := make(chan result, 10_000)
	n := 0
	for tick := time.NewTicker(20 * time.Millisecond); ; n++ {
		select {
		case <-tick.C:
		case <-stop:
			tick.Stop()
			for range n {
				r := <-results
				took, err = append(took, r.took), errors.Join(err, r.err)
			}
			return took, err
		}
		go func() {
			begun := time.Now()
			err := w.lookUp()
			results <- result{time.Since(begun), err}
		}()
	}
}

// lookUp asks the forwarder once.
func (w *world) lookUp() error {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	c, err := w.Net.Client.DialContext(ctx, "udp", forwarderAddr+":53")
	if err != nil {
		return err
	}
	defer c.Close()
	conn := &dns.Conn{Conn: c}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(aName+".", dns.TypeA)); err != nil {
		return err
	}
	m, err := conn.ReadMsg()
	if err == nil && (m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1) {
		err = fmt.Errorf("answered %v", m)
	}
	return err
}

// unpacked is a Debian package's files in a folder, without installing it: its scripts
// would change the machine's resolv.conf.
func (w *world) unpacked(name string) string {
	w.Helper()
	dir := filepath.Join(os.TempDir(), "braid-lab-packages")
	w.must(os.MkdirAll(dir, 0o755))
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	w.must(err)
	defer lock.Close()
	w.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	to := filepath.Join(dir, name)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	script := fmt.Sprintf("apt-get download -q %[1]s || { apt-get update -q && apt-get download -q %[1]s; }; dpkg-deb -x %[1]s_*.deb %[1]s.new && mv %[1]s.new %[1]s", name)
	c := exec.Command("sh", "-ec", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		w.Fatalf("get the Debian package %s: %v\n%s", name, err, out)
	}
	return to
}
