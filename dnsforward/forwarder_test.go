package dnsforward

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream is a DNS server on a loopback address of its own, which does with a
// query what the test says.
type upstream struct {
	addr netip.Addr
	// answer returns what to send to the n-th query that came, from 1 on; nil is
	// silence.
	answer func(n int, q *dns.Msg) *dns.Msg

	mu  sync.Mutex // guards ids
	ids []uint16

	udp, tcp string // where it really listens
	asked    atomic.Int64
}

func newUpstream(t *testing.T, addr string, answer func(n int, q *dns.Msg) *dns.Msg) *upstream {
	t.Helper()
	u := &upstream{addr: netip.MustParseAddr(addr), answer: answer}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.udp, u.tcp = pc.LocalAddr().String(), l.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			u.mu.Lock()
			u.ids = append(u.ids, q.Id)
			u.mu.Unlock()
			if m := u.answer(int(u.asked.Add(1)), q); m != nil {
				_ = w.WriteMsg(m)
			}
		})
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(ended); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	}
	return u
}

// says answers every query with one address.
func says(address string) func(int, *dns.Msg) *dns.Msg {
	return func(_ int, q *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(address)}}
		return m
	}
}

func fails(code int) func(int, *dns.Msg) *dns.Msg {
	return func(_ int, q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }
}

func silent(int, *dns.Msg) *dns.Msg { return nil }

// start runs a Forwarder with these servers and returns it and where it listens.
func start(t *testing.T, servers ...*upstream) (*Forwarder, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	pc, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	f := New(Config{UDP: pc, TCP: l, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			i := slices.IndexFunc(servers, func(u *upstream) bool { return u.addr == to.Addr() })
			if i < 0 || to.Port() != dnsPort {
				return nil, errors.New("no such server")
			}
			where := servers[i].udp
			if network == "tcp" {
				where = servers[i].tcp
			}
			return new(net.Dialer).DialContext(ctx, network, where)
		}})
	var list []netip.Addr
	for _, u := range servers {
		list = append(list, u.addr)
	}
	f.SetServers(list)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f, at
}

// lookUp asks for the address of a name.
func lookUp(t *testing.T, at, network string, change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion("braid.test.", dns.TypeA)
	for _, c := range change {
		c(q)
	}
	c := dns.Client{Net: network, Timeout: 20 * time.Second}
	m, _, err := c.Exchange(q, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func address(m *dns.Msg) string {
	if len(m.Answer) != 1 {
		return ""
	}
	return m.Answer[0].(*dns.A).A.String()
}

func TestForward(t *testing.T) {
	u := newUpstream(t, "192.0.2.1", says("198.51.100.7"))
	f, at := start(t, u)
	for _, network := range []string{"udp", "tcp"} {
		if got := address(lookUp(t, at, network)); got != "198.51.100.7" {
			t.Errorf("over %s: %q", network, got)
		}
	}
	// Each question has an ID of its own, whatever the program's.
	for range 8 {
		lookUp(t, at, "udp", func(q *dns.Msg) { q.Id = 7 })
	}
	u.mu.Lock()
	slices.Sort(u.ids)
	if n := len(slices.Compact(u.ids)); n < 8 {
		t.Errorf("%d IDs", n)
	}
	u.mu.Unlock()
	if s := f.Status(); s.Queries != 10 || s.Failed > 0 || !slices.Equal(s.Servers, []netip.Addr{u.addr}) {
		t.Errorf("status %+v", s)
	}
}

// Whoever does not answer is not waited for.
func TestHedge(t *testing.T) {
	for name, c := range map[string]struct {
		first, second func(int, *dns.Msg) *dns.Msg
		want          string
		rcode         int
	}{
		"the first is silent": {silent, says("198.51.100.2"), "198.51.100.2", 0},
		"the first loses the first question, the second is silent": {func(n int, q *dns.Msg) *dns.Msg {
			if n == 1 {
				return nil
			}
			return says("198.51.100.1")(n, q)
		}, silent, "198.51.100.1", 0},
		"the first fails":      {fails(dns.RcodeServerFailure), says("198.51.100.2"), "198.51.100.2", 0},
		"the first refuses":    {fails(dns.RcodeRefused), says("198.51.100.2"), "198.51.100.2", 0},
		"both fail":            {fails(dns.RcodeServerFailure), fails(dns.RcodeServerFailure), "", dns.RcodeServerFailure},
		"there is no such":     {fails(dns.RcodeNameError), says("198.51.100.2"), "", dns.RcodeNameError},
		"one fails, one hangs": {fails(dns.RcodeRefused), silent, "", dns.RcodeRefused},
		"the first answers another question": {func(n int, q *dns.Msg) *dns.Msg {
			m := says("198.51.100.1")(n, q)
			m.Question[0].Name = "other.test."
			return m
		}, says("198.51.100.2"), "198.51.100.2", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, network := range []string{"udp", "tcp"} {
				_, at := start(t, newUpstream(t, "192.0.2.1", c.first), newUpstream(t, "192.0.2.2", c.second))
				if network == "tcp" && name == "the first loses the first question, the second is silent" {
					continue // TCP repeats by itself
				}
				m := lookUp(t, at, network)
				if address(m) != c.want || m.Rcode != c.rcode {
					t.Errorf("over %s: %v", network, m)
				}
			}
		})
	}
}

// A server that was late is asked after one that is not.
func TestOrder(t *testing.T) {
	slow := newUpstream(t, "192.0.2.1", silent)
	quick := newUpstream(t, "192.0.2.2", says("198.51.100.2"))
	_, at := start(t, slow, quick)
	for range 10 {
		lookUp(t, at, "udp")
	}
	if n := slow.asked.Load(); n > 3 {
		t.Errorf("the silent server was asked %d times", n)
	}
}

func TestNobodyAnswers(t *testing.T) {
	u := newUpstream(t, "192.0.2.1", silent)
	f, at := start(t, u)
	if m := lookUp(t, at, "udp"); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", m)
	}
	if n := u.asked.Load(); n < 3 || n > maxAsks {
		t.Errorf("asked %d times", n)
	}
	if s := f.Status(); s.Failed != 1 || s.Again == 0 {
		t.Errorf("status %+v", s)
	}
	f.SetServers(nil)
	if m := lookUp(t, at, "udp"); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("without servers: %v", m)
	}
}

// EDNS passes in both directions, and what is too large is for TCP.
func TestLarge(t *testing.T) {
	var flags atomic.Int64
	u := newUpstream(t, "192.0.2.1", func(_ int, q *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if o := q.IsEdns0(); o != nil && o.Do() {
			flags.Add(1)
			m.SetEdns0(1232, true)
		}
		for range 60 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{string(bytes.Repeat([]byte("x"), 20))}})
		}
		return m
	})
	_, at := start(t, u)
	for _, c := range []struct {
		network   string
		size      uint16
		truncated bool
	}{{"udp", 0, true}, {"udp", 1232, true}, {"udp", 4096, false}, {"udp", 65535, false}, {"tcp", 0, false}} {
		m := lookUp(t, at, c.network, func(q *dns.Msg) {
			q.Question[0].Qtype = dns.TypeTXT
			if c.size > 0 {
				q.SetEdns0(c.size, true)
			}
		})
		if m.Truncated != c.truncated || !c.truncated && len(m.Answer) != 60 {
			t.Errorf("over %s with %d bytes: truncated %v, %d answers", c.network, c.size, m.Truncated, len(m.Answer))
		}
		if c.size > 1232 && (m.IsEdns0() == nil || !m.IsEdns0().Do()) {
			t.Errorf("over %s with %d bytes: no EDNS came back", c.network, c.size)
		}
	}
	if flags.Load() != 3 {
		t.Errorf("%d of 3 queries had EDNS", flags.Load())
	}
}

// What is too much at once is refused at once, and the rest is answered.
func TestMostQueries(t *testing.T) {
	hold := make(chan struct{})
	u := newUpstream(t, "192.0.2.1", func(n int, q *dns.Msg) *dns.Msg {
		<-hold
		return says("198.51.100.1")(n, q)
	})
	f, at := start(t, u)
	for range maxQueries { // as many wait as may
		f.slots <- struct{}{}
	}
	if m := lookUp(t, at, "udp"); m.Rcode != dns.RcodeServerFailure || f.Status().Limited != 1 {
		t.Errorf("got %v, status %+v", m, f.Status())
	}
	for range maxQueries {
		<-f.slots
	}
	close(hold)
	if m := lookUp(t, at, "udp"); address(m) == "" {
		t.Errorf("got %v", m)
	}
}

func TestRefused(t *testing.T) {
	u := newUpstream(t, "192.0.2.1", says("198.51.100.1"))
	_, at := start(t, u)
	for name, c := range map[string]struct {
		change func(*dns.Msg)
		rcode  int
	}{
		"transfer": {func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAXFR }, dns.RcodeRefused},
		"update":   {func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }, dns.RcodeNotImplemented},
		"notify":   {func(q *dns.Msg) { q.Opcode = dns.OpcodeNotify }, dns.RcodeNotImplemented},
	} {
		if m := lookUp(t, at, "udp", c.change); m.Rcode != c.rcode {
			t.Errorf("%s: %v", name, m)
		}
	}
	if n := u.asked.Load(); n > 0 {
		t.Errorf("%d of them were passed on", n)
	}
	for a, want := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "[::ffff:127.0.0.1]:5": true, "192.168.1.7:53": false, "[fe80::1]:53": false} {
		if got := fromHere(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(a))); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}
