package terminate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Peers of these tests, at the tunnel's other end, and where services listen:
// here, and at the host behind.
const (
	from4, from6   = "198.51.100.7:5000", "[2001:db8:1::7]:5000"
	own4, own6     = "10.77.0.2:80", "[fd77::2]:80"
	other4, other6 = "192.168.9.2:80", "[fd09::2]:80"
)

// dialFrom dials in the test's goroutine, with patience.
func (h *host) dialFrom(tb testing.TB, from, to string) (*Conn, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	c, err := h.Dial(ctx, netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))
	if err == nil {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return c, err
}

// listenAt listens in the calling thread's namespace, and gives each connection
// to handle in a goroutine. It ends when stop is closed.
func listenAt(stop <-chan struct{}, address string, handle func(*net.TCPConn)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() { <-stop; l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				handle(c.(*net.TCPConn))
				c.Close()
			}()
		}
	}()
	return nil
}

// report sends, in a line, the address that it sees, and then back what comes.
func report(c *net.TCPConn) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "%v\n", c.RemoteAddr())
	io.Copy(c, c)
}

// services starts a report at each of the addresses.
func services(tb testing.TB, addresses ...string) {
	tb.Helper()
	for _, a := range addresses {
		if err := listenAt(tb.Context().Done(), a, report); err != nil {
			tb.Fatal(err)
		}
	}
}

// served is for lan: services at the host behind.
func served(tb testing.TB) func() error {
	return func() error {
		err := listenAt(tb.Context().Done(), other4, report)
		return errors.Join(err, listenAt(tb.Context().Done(), other6, report))
	}
}

// echo sends data both ways and closes; the service must see the source.
func echo(c *Conn, source string, data []byte) error {
	defer c.Close()
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	b, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if seen, rest, _ := bytes.Cut(b, []byte("\n")); string(seen) != source || !bytes.Equal(rest, data) {
		return fmt.Errorf("from %s: the service saw %q, %d bytes came of %d", source, seen, len(rest), len(data))
	}
	return nil
}

// Services of this host, by the INPUT hook, and of one behind, by FORWARD: the
// data come whole, and the source is the true one.
func TestDial(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	setSysctl(t, "ipv4/conf/all/rp_filter", "1") // the route to the peers is by the TUN
	services(t, own4, own6)
	if err := receive(t, h.lan(t, served(t))); err != nil {
		t.Fatal(err)
	}
	data := random(6<<20, 4)
	tests := []struct{ from, to string }{{from4, own4}, {from6, own6}, {from4, other4}, {from6, other6}}
	for _, tt := range tests {
		supers := h.supers.Load()
		c, err := h.dialFrom(t, tt.from, tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(c, tt.from, data); err != nil {
			t.Error(tt.to, err)
		}
		if h.supers.Load() == supers {
			t.Errorf("%s: no super-packets", tt.to)
		}
	}
	h.ended(t, len(tests))
	s := h.Stats()
	if s.Originated != 4 || s.Connections+s.Dialling != 0 || s.Failed+s.Offered+s.Resets+s.DroppedMalformed+s.WriteErrors != 0 {
		t.Errorf("%+v", s)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.table.sweep(time.Now().Add(linger / 2)); len(h.table.flows) != 8 {
		t.Errorf("%d flows during linger", len(h.table.flows))
	}
	if h.table.sweep(time.Now().Add(linger + time.Minute)); len(h.table.flows) != 0 {
		t.Errorf("%d flows after it", len(h.table.flows))
	}
}

// nft loads a ruleset into the calling thread's namespace.
func nft(tb testing.TB, rules string) {
	tb.Helper()
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		tb.Fatalf("nft: %v: %s", err, out)
	}
}

// rejecting is a firewall for ports of this host.
const rejecting = `table inet firewall {
	chain input {
		type filter hook input priority 0;
		iifname tun0 tcp dport 1001 reject with tcp reset
		iifname tun0 tcp dport 1002 reject
		iifname tun0 tcp dport 1003 meta nfproto ipv4 reject with icmp admin-prohibited
		iifname tun0 tcp dport 1003 meta nfproto ipv6 reject with icmpv6 admin-prohibited
		iifname tun0 tcp dport 1004 reject with icmpx host-unreachable
		iifname tun0 tcp dport 1005 reject with icmpx no-route
		iifname tun0 tcp dport 1006 drop
	}
}`

// What the destination says, or a router before it, Dial returns at once.
func TestDialErrors(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	if err := receive(t, h.lan(t, served(t))); err != nil {
		t.Fatal(err)
	}
	nft(t, rejecting)
	// The host behind is up when it is asked; another that does not answer is
	// given up soon.
	for from, to := range map[string]string{from4: other4, from6: other6} {
		c, err := h.dialFrom(t, from, to)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		setSysctl(t, family+"/neigh/lan0/mcast_solicit", "1")
		setSysctl(t, family+"/neigh/lan0/retrans_time_ms", "50")
	}
	for _, dst := range []string{"203.0.113.0/24", "2001:db8:9::/48"} {
		_, n, _ := net.ParseCIDR(dst)
		if err := netlink.RouteAdd(&netlink.Route{Dst: n, Type: unix.RTN_UNREACHABLE}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, to4, to6 string
		want4, want6   syscall.Errno
	}{
		{"closed port here", "10.77.0.2:9", "[fd77::2]:9", syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{"closed port behind", "192.168.9.2:9", "[fd09::2]:9", syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{"host that is down", "192.168.9.3:80", "[fd09::3]:80", syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{"unreachable route", "203.0.113.1:80", "[2001:db8:9::1]:80", syscall.EHOSTUNREACH, syscall.ENETUNREACH},
		{"firewall: reset", "10.77.0.2:1001", "[fd77::2]:1001", syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{"firewall: port unreachable", "10.77.0.2:1002", "[fd77::2]:1002", syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{"firewall: prohibited", "10.77.0.2:1003", "[fd77::2]:1003", syscall.EACCES, syscall.EACCES},
		{"firewall: host unreachable", "10.77.0.2:1004", "[fd77::2]:1004", syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{"firewall: no route", "10.77.0.2:1005", "[fd77::2]:1005", syscall.ENETUNREACH, syscall.ENETUNREACH},
	}
	for i, tt := range tests {
		// Each has a peer of its own: the kernel limits the errors for one.
		for from, want := range map[string]syscall.Errno{
			fmt.Sprintf("198.51.100.%d:5000", 10+i):    tt.want4,
			fmt.Sprintf("[2001:db8:1::%d]:5000", 10+i): tt.want6,
		} {
			to := tt.to4
			if from[0] == '[' {
				to = tt.to6
			}
			_, err := h.dialFrom(t, from, to)
			var e *Error
			if !errors.Is(err, want) || !errors.As(err, &e) || e.From.String() != from || e.To.String() != to {
				t.Errorf("%s: %v, want %v", tt.name, err, want)
			}
		}
	}
	if s := h.Stats(); s.Failed != uint64(2*len(tests)) || s.Connections+s.Dialling != 0 || s.Originated != 2 {
		t.Errorf("%+v", s)
	}
}

// Silence lasts until the caller, or the kernel, has enough of it.
func TestDialSilence(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	nft(t, rejecting)
	from, to := netip.MustParseAddrPort(from4), netip.MustParseAddrPort("10.77.0.2:1006")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.Dial(ctx, from, to); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := h.Dial(ctx, from, to); !errors.Is(err, context.Canceled) { // the same port again
		t.Error(err)
	}
	if _, err := h.Dial(ctx, from, to); !errors.Is(err, context.Canceled) { // was over before
		t.Error(err)
	}
	setSysctl(t, "ipv4/tcp_syn_retries", "1")
	if _, err := h.dialFrom(t, from4, to.String()); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Error(err)
	}
	if s := h.Stats(); s.Failed != 3 || s.Connections+s.Dialling != 0 {
		t.Errorf("%+v", s)
	}
}

// The same source, port and destination: not while a connection lives, at once
// when it is over.
func TestDialSamePorts(t *testing.T) {
	h := newHost(t, (*Pending).Drop, func(c *Config) { c.Device = "" })
	services(t, own4)
	for range 3 {
		c, err := h.dialFrom(t, from4, own4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.dialFrom(t, from4, own4); !errors.Is(err, syscall.EADDRINUSE) {
			t.Error(err)
		}
		if err := echo(c, from4, []byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return !c.e.ended.IsZero()
		})
	}
	if s := h.Stats(); s.Originated != 3 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// A reset of either side reaches the other.
func TestDialResets(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	got := make(chan error, 1)
	if err := listenAt(t.Context().Done(), own4, func(c *net.TCPConn) {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, "x")
		_, err := c.Read(make([]byte, 1))
		got <- err
		c.SetLinger(0)
	}); err != nil {
		t.Fatal(err)
	}
	c, err := h.dialFrom(t, from4, own4)
	if err != nil {
		t.Fatal(err)
	}
	c.Read(make([]byte, 1))
	c.SetLinger(0)
	c.Close()
	if err := receive(t, got); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v", err)
	}
	if c, err = h.dialFrom(t, from4, own4); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Read(make([]byte, 1))
	io.WriteString(c, "y")
	receive(t, got)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the owner reads %v", err)
	}
	c.Close()
	h.ended(t, 1) // the first has given way to the second
}

// A dial given up at the moment of its success leaves nothing half open.
func TestDialGivenUpLate(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	var open, ended atomic.Int64
	if err := listenAt(t.Context().Done(), own4, func(c *net.TCPConn) {
		open.Add(1)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the service reads %v", err)
		}
		ended.Add(1)
	}); err != nil {
		t.Fatal(err)
	}
	const n = 300
	for i := range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Microsecond)
		c, err := h.Dial(ctx, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), uint16(1000+i)), netip.MustParseAddrPort(own4))
		cancel()
		switch {
		case err == nil:
			c.SetLinger(0)
			c.Close()
		case !errors.Is(err, context.DeadlineExceeded):
			t.Error(err)
		}
	}
	s := h.Stats()
	if s.Connections+s.Dialling != 0 || s.Originated+s.Failed > n || s.Originated == 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "resets", func() bool { return open.Load() >= int64(s.Originated) && open.Load() == ended.Load() })
	t.Logf("%d of %d were in time, the service saw %d", s.Originated, n, open.Load())
}

// Many at a time, from several threads.
func TestDialMany(t *testing.T) {
	const threads, each = 8, 60
	h := newHost(t, (*Pending).Drop, nil)
	services(t, own4, own6)
	var open sync.WaitGroup // all are open before the first is closed
	open.Add(threads * each)
	var done []<-chan struct{}
	for i := range threads {
		done = append(done, h.enter(t, func() {
			conns := map[string]*Conn{}
			for n := range each {
				from, to := fmt.Sprintf("198.51.100.%d:%d", 1+i, 6000+n), own4
				if n%2 == 1 {
					from, to = fmt.Sprintf("[2001:db8:1::%d]:%d", 1+i, 6000+n), own6
				}
				c, err := h.dialFrom(t, from, to)
				if err != nil {
					t.Error(err)
				} else {
					conns[from] = c
				}
				open.Done()
			}
			open.Wait()
			for from, c := range conns {
				if err := echo(c, from, []byte(from)); err != nil {
					t.Error(err)
				}
			}
		}))
	}
	for _, c := range done {
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatal("not done")
		}
	}
	h.ended(t, threads*each)
	if s := h.Stats(); s.Originated != threads*each || s.Connections != 0 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// The end of Run ends the dials under way; no goroutine and no descriptor
// stays.
func TestStopDialling(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	nft(t, rejecting)
	before, goroutines := sockets(t, nil), runtime.NumGoroutine()
	// Its packets go to the other Terminator, which drops them.
	second, err := New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- second.Run(ctx) }()
	const n = 5
	failed := make(chan error, n)
	var done []<-chan struct{}
	for i := range n {
		done = append(done, h.enter(t, func() {
			_, err := second.Dial(t.Context(), netip.MustParseAddrPort(from6), netip.AddrPortFrom(netip.MustParseAddr("fd77::2"), uint16(80+i)))
			failed <- err
		}))
	}
	eventually(t, "dials", func() bool { return second.Stats().Dialling == n && len(sockets(t, before)) == 4+n })
	cancel()
	if err := receive(t, ran); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s := second.Stats(); s.Dialling+s.Connections != 0 || s.Failed != n {
		t.Errorf("%+v", s)
	}
	if left := sockets(t, before); len(left) != 0 {
		t.Errorf("open: %v", left)
	}
	for range n {
		if err := receive(t, failed); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	for _, c := range done {
		<-c
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if _, err := second.Dial(t.Context(), netip.MustParseAddrPort(from4), netip.MustParseAddrPort(own4)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// sockets returns this process's sockets but for those in known.
func sockets(tb testing.TB, known map[string]bool) map[string]bool {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		// One that was closed since has no link.
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if strings.HasPrefix(name, "socket:") && !known[name] {
			found[name] = true
		}
	}
	return found
}
