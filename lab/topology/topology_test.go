package topology_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/topology"

	"golang.org/x/sys/unix"
)

// build builds a network for the duration of a test.
func build(t *testing.T, c topology.Config) *topology.Net {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := topology.Build(l, c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// ping returns the shortest of three round trips, or the reason why there is
// none. A from of "" leaves the choice of the way to the host.
func ping(ctx context.Context, h *lab.Host, from string, to netip.Addr) (time.Duration, error) {
	args := []string{"-n", "-c", "3", "-i", "0.05", "-W", "1"}
	if from != "" {
		args = append(args, "-I", from)
	}
	out, err := h.Run(ctx, "ping", append(args, to.String())...)
	if err != nil {
		return 0, err
	}
	best := time.Hour
	for _, m := range pingTime.FindAllSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, err
		}
		best = min(best, time.Duration(ms*float64(time.Millisecond)))
	}
	return best, nil
}

func mustPing(t *testing.T, h *lab.Host, from string, to netip.Addr) time.Duration {
	t.Helper()
	rtt, err := ping(t.Context(), h, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return rtt
}

func mustNotPing(t *testing.T, h *lab.Host, to netip.Addr) {
	t.Helper()
	out, err := h.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "0.3", to.String())
	if err == nil {
		t.Errorf("%s reaches %v: %s", h.Name(), to, out)
	}
}

func TestRoundTrips(t *testing.T) {
	want := map[string]time.Duration{"dsl": 30 * time.Millisecond, "lte": 60 * time.Millisecond}
	n := build(t, topology.CellA())
	for uplink, rtt := range want {
		for _, to := range []netip.Addr{n.ServerAddr4, n.ServerAddr6} {
			// What else the machine does makes single packets late, never early.
			got := time.Hour
			for range 30 {
				if got = min(got, mustPing(t, n.Client, uplink, to)); got <= rtt+2*time.Millisecond {
					break
				}
			}
			if got < rtt || got > rtt+2*time.Millisecond {
				t.Errorf("%s to %v: shortest round trip %v, want %v", uplink, to, got, rtt)
			}
		}
	}
	// Without a choice it is the first uplink.
	if got := mustPing(t, n.Client, "", n.ServerAddr4); got >= want["lte"] {
		t.Errorf("the default route takes %v, want the DSL's 30 ms", got)
	}
}

func TestWhoReachesWhom(t *testing.T) {
	c := topology.Demo()
	c.SecondClient = true
	n := build(t, c)

	mustPing(t, n.Client2, "", n.ServerAddr4)
	mustPing(t, n.Client2, "", n.ServerAddr6)
	mustPing(t, n.Lan, "", netip.MustParseAddr("192.168.10.1"))
	mustPing(t, n.Client, "", n.LanAddr4)
	mustPing(t, n.Client, "", n.LanAddr6)
	mustPing(t, n.Server, "", n.InternetAddr4)
	mustPing(t, n.Server, "", n.InternetAddr6)
	mustPing(t, n.Internet, "", n.ServerAddr4)

	mustNotPing(t, n.Client, n.InternetAddr4)
	mustNotPing(t, n.Client, n.InternetAddr6)
	mustNotPing(t, n.Lan, n.ServerAddr6)            // the core has no way back
	mustNotPing(t, n.Server, n.LanAddr4)            // no route
	mustNotPing(t, n.Client2, n.ClientAddr4("eth")) // behind NAT
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		if v, err := n.Server.Sysctl(key); err != nil || v != "0" {
			t.Errorf("server: %s = %q (%v), want 0", key, v, err)
		}
	}
}

// sourceSeen returns the address from which the server sees the client come by
// an uplink.
func sourceSeen(t *testing.T, n *topology.Net, uplink string, server netip.Addr) netip.Addr {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	listener, err := n.Server.Listen(ctx, "tcp", netip.AddrPortFrom(server, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	d := &net.Dialer{ControlContext: bindTo(uplink)}
	conn, err := n.Client.DialWith(ctx, d, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	// Data both ways, for NAT that works one way only.
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(accepted, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(accepted.RemoteAddr().String()).Addr()
}

func bindTo(interfaceName string) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), interfaceName) })
		return errors.Join(err, failed)
	}
}

func TestNAT(t *testing.T) {
	routed := topology.Line("routed", 20*emulator.Mbps, 5*emulator.Mbps, 10*time.Millisecond)
	routed.NAT = false
	masked := topology.Line("masked", 20*emulator.Mbps, 5*emulator.Mbps, 10*time.Millisecond)
	n := build(t, topology.Config{Uplinks: []topology.Uplink{routed, masked}})
	for _, test := range []struct {
		uplink string
		server netip.Addr
		want   netip.Addr
	}{
		{"routed", n.ServerAddr4, n.ClientAddr4("routed")},
		{"masked", n.ServerAddr4, n.PublicAddr4("masked")},
		{"routed", n.ServerAddr6, n.ClientAddr6("routed")},
		{"masked", n.ServerAddr6, n.ClientAddr6("masked")},
	} {
		if got := sourceSeen(t, n, test.uplink, test.server); got != test.want {
			t.Errorf("by %s the server sees %v, want %v", test.uplink, got, test.want)
		}
	}
	mustPing(t, n.Server, "", n.ClientAddr4("routed"))
	mustNotPing(t, n.Server, n.ClientAddr4("masked"))
}

func TestSourceRules(t *testing.T) {
	n := build(t, topology.CellA())
	if err := n.AddSourceRules(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []netip.Addr{n.ClientAddr4("lte"), n.ClientAddr6("lte")} {
		to := n.ServerAddr4
		if from.Is6() {
			to = n.ServerAddr6
		}
		if rtt := mustPing(t, n.Client, from.String(), to); rtt < 60*time.Millisecond {
			t.Errorf("from %v the round trip is %v: it did not leave by LTE", from, rtt)
		}
	}
}

func TestRemoveAndRestore(t *testing.T) {
	for _, config := range []topology.Config{topology.CellA(), topology.Fast(2)} {
		n := build(t, config)
		first, second := config.Uplinks[0].Name, config.Uplinks[1].Name
		if err := n.RemoveUplink(first); err != nil {
			t.Fatal(err)
		}
		if names, err := n.Client.Interfaces(); err != nil || slices.Contains(names, first) {
			t.Errorf("removed %s, interfaces are %v (%v)", first, names, err)
		}
		mustPing(t, n.Client, "", n.ServerAddr4) // by the second
		if err := n.RestoreUplink(first); err != nil {
			t.Fatal(err)
		}
		mustPing(t, n.Client, first, n.ServerAddr4)
		mustPing(t, n.Client, first, n.ServerAddr6)

		if err := n.ChangeAddress(second, 77); err != nil {
			t.Fatal(err)
		}
		if got, want := n.ClientAddr4(second), netip.MustParseAddr("10.2.0.77"); got != want {
			t.Errorf("changed address is %v, want %v", got, want)
		}
		mustPing(t, n.Client, second, n.ServerAddr4)
		mustPing(t, n.Client, second, n.ServerAddr6)
		if err := n.RemoveAddress(second); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Client.Run(t.Context(), "ip", "-br", "addr", "show", "dev", second, "scope", "global"); err != nil || strings.Contains(string(out), "/") {
			t.Errorf("an address stayed: %s (%v)", out, err)
		}
		if err := n.ConfigureUplink(second); err != nil {
			t.Fatal(err)
		}
		mustPing(t, n.Client, second, n.ServerAddr4)
		if err := n.Client.SetDown(second); err != nil {
			t.Fatal(err)
		}
		if err := n.Client.SetUp(second); err != nil {
			t.Fatal(err)
		}
		if err := n.ConfigureUplink(second); err != nil {
			t.Fatal(err)
		}
		mustPing(t, n.Client, second, n.ServerAddr4)
		mustPing(t, n.Client, second, n.ServerAddr6)
	}
}

func TestRouteTunnel(t *testing.T) {
	c := topology.Fast(1)
	c.RouteTunnel = []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")}
	n := build(t, c)
	// The server stands in for a tunnel with an address of it.
	for _, p := range []string{"10.77.0.1/24", "fd77::1/64"} {
		prefix := netip.MustParsePrefix(p)
		if err := n.Server.AddAddress("lo", prefix); err != nil {
			t.Fatal(err)
		}
		mustPing(t, n.Internet, "", prefix.Addr())
	}
}

func TestMTU(t *testing.T) {
	for _, veth := range []bool{false, true} {
		u := topology.Line("ppp", 20*emulator.Mbps, 5*emulator.Mbps, 10*time.Millisecond)
		u.MTU, u.Veth = 1400, veth
		n := build(t, topology.Config{Uplinks: []topology.Uplink{u}})
		for size, fits := range map[string]bool{"1372": true, "1373": false} { // 28 bytes of headers
			out, err := n.Client.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", size, n.ServerAddr4.String())
			if fits != (err == nil) {
				t.Errorf("veth %v: ping of %s bytes: %v: %s", veth, size, err, out)
			}
		}
	}
}

func TestConfigErrors(t *testing.T) {
	c := topology.Config{
		Uplinks:     []topology.Uplink{{Name: "a"}, {Name: "a"}, {Name: ""}, {Name: "lan"}},
		RouteTunnel: []netip.Prefix{{}},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	if got := len(regexp.MustCompile("\n").FindAllString(err.Error(), -1)); got != 3 {
		t.Errorf("want 4 errors at once, got:\n%v", err)
	}
}
