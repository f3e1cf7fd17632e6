package hostnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Before the TUN is there and after, whatever happens to routes and interfaces:
// nothing of the tunnel's leaves beside it.
func TestKernelKillSwitch(t *testing.T) {
	g := newGuarded(t)
	s := g.client
	l := g.out.listen("203.0.113.5:9")
	g.open("without a kill switch")
	var old net.Conn
	var err error
	if s.do(func() { old, err = net.Dial("tcp", "203.0.113.5:9") }); err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	before := s.snapshot()

	m := testManager(t, s.host())
	d := guardedWish()
	mustApply(t, m, d)
	g.closed("before the TUN is there")
	seen := g.seen()
	old.Write([]byte("from before"))
	time.Sleep(300 * time.Millisecond) // and it is sent again
	if n := g.seen() - seen; n > 0 {
		t.Errorf("an old connection sent %d packets", n)
	}
	var denied error
	s.do(func() { denied = sendOne(foreign4, unix.SOCK_DGRAM, unix.IPPROTO_UDP, "", []byte("x")) })
	if !errors.Is(denied, unix.EPERM) {
		t.Errorf("a program is told %v, want that it is not permitted", denied)
	}
	done := len(m.done)
	mustApply(t, m, d)
	if len(m.done) != done {
		t.Errorf("applying again: %q", m.done[done:])
	}

	tun := s.tun("braid0")
	d.Device, d.Addresses, d.Routes = "braid0", prefixes("10.77.0.2/24", "fd77::2/64"), prefixes("0.0.0.0/0", "::/0")
	mustApply(t, m, d)
	g.closed("in the tunnel")
	got := make([]byte, 2000)
	tun.SetReadDeadline(time.Now().Add(patience))
	s.sendUDP(foreign4)
	if _, err := tun.Read(got); err != nil {
		t.Errorf("nothing comes into the TUN: %v", err)
	}

	// What DHCP may say (option 121), what comes and goes.
	s.ip("route add 203.0.113.0/25 via 192.0.2.1\n-6 route add 2001:db8:5::/64 via 2001:db8::1")
	g.closed("with longer routes")
	s.ip("addr add 203.0.113.77/24 dev wan")
	g.closed("with a network that claims to be attached")
	mustApply(t, m, d)
	g.closed("with a network that claims to be attached, known")
	s.ip("addr del 203.0.113.77/24 dev wan\nroute del 203.0.113.0/25\n-6 route del 2001:db8:5::/64")
	s.ip("link set wan down\nlink set wan up\naddr add 2001:db8::8/64 dev wan")
	s.ip("route add default via 192.0.2.1 metric 5\n-6 route add default via 2001:db8::1 metric 5")
	g.closed("after the uplink was down")
	s.veth("new", g.out, "new")
	g.out.ip("addr add 198.51.100.1/24 dev new")
	s.ip("addr add 198.51.100.2/24 dev new\nroute add default via 198.51.100.1 metric 1")
	g.closed("by a new interface")
	tun.Close()
	g.closed("when the TUN is gone")
	s.ip("link del new\naddr del 2001:db8::8/64 dev wan\nroute del default metric 5\n-6 route del default metric 5")
	s.ip("-6 addr add 2001:db8::7/64 dev wan\nroute add default via 192.0.2.1\n-6 route add default via 2001:db8::1")

	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	s.mustBeAsBefore(before)
	g.open("after Undo")
}

// What passes the kill switch, and what is like it but does not.
func TestKernelKillSwitchPasses(t *testing.T) {
	g := newGuarded(t)
	s := g.client
	for _, address := range []string{"203.0.113.10:443", "203.0.113.10:444", "192.0.2.1:443"} {
		g.out.listen(address)
	}
	m := testManager(t, s.host())
	d := guardedWish()
	d.KillSwitch.Resolvers = addresses("192.0.2.1")
	d.Exclude = prefixes("203.0.113.4/31")
	mustApply(t, m, d)

	for _, c := range []struct {
		to   string
		mark int
		want bool
	}{
		{"203.0.113.10:443", 0xb1, true}, {"203.0.113.10:443", 0, false}, {"203.0.113.10:443", 0xb2, false},
		{"203.0.113.10:444", 0xb1, false}, {"192.0.2.1:443", 0xb1, false},
	} {
		if got := s.connects(c.to, c.mark, waitFor(c.want)); got != c.want {
			t.Errorf("TCP to %s with mark %#x passes: %v", c.to, c.mark, got)
		}
	}
	for args, want := range map[string]bool{
		"192.168.10.2": true, "fd00:10::2": true, "203.0.113.5": true, "203.0.113.10": false, "192.0.2.1": false, "2001:db8::1": false,
		"ff02::1%wan": true, "ff02::1%lan": true, "-m 177 203.0.113.10": false,
	} {
		if got := s.pings(args, waitFor(want)); got != want {
			t.Errorf("ping %s passes: %v", args, got)
		}
	}
	g.out.echo("192.0.2.1:67")
	g.out.echo("192.0.2.1:53")
	for _, c := range []struct {
		from, to string
		mark     int
		want     bool
	}{
		{"192.0.2.7:68", "192.0.2.1:67", 0, true}, {"192.0.2.7:1068", "192.0.2.1:67", 0, false},
		{":0", "192.0.2.1:53", 0xb1, true}, {":0", "192.0.2.1:53", 0, false},
	} {
		u := s.udp(c.from, c.mark)
		u.SetDeadline(time.Now().Add(waitFor(c.want)))
		_, err := u.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(c.to))
		if err == nil {
			_, _, err = u.ReadFromUDPAddrPort(make([]byte, 100))
		}
		if (err == nil) != c.want {
			t.Errorf("UDP from %s to %s with mark %#x: %v", c.from, c.to, c.mark, err)
		}
		u.Close()
	}

	// What the kernel says of a carrier that is gone has no mark.
	g.out.run("nft", `add counter inet seen resets
add counter inet seen others
add rule inet seen prerouting ip daddr 203.0.113.10 tcp dport 443 tcp flags & rst == rst counter name resets
add rule inet seen prerouting ip daddr 203.0.113.10 tcp dport 443 tcp flags & rst == 0 counter name others`)
	for _, flags := range []byte{1 << 4, 1 << 2} { // ACK, and then RST
		segment := make([]byte, 20)
		binary.BigEndian.PutUint16(segment, 5555)
		binary.BigEndian.PutUint16(segment[2:], carriers.Port())
		segment[12], segment[13] = 5<<4, flags
		s.do(func() { sendOne(carriers.Addr(), unix.SOCK_RAW, unix.IPPROTO_TCP, "", segment) })
	}
	count := func(name string) string { return g.out.run("nft", "list", "counter", "inet", "seen", name) }
	eventually(t, func() bool { return strings.Contains(count("resets"), "packets 1 ") }, func() string { return "the reset: " + count("resets") })
	if got := count("others"); !strings.Contains(got, "packets 0 ") {
		t.Errorf("a segment without a mark passed: %s", got)
	}

	// Networks behind a named interface, public ones too; not its default route.
	d.ExcludeBehind = []string{"wa?"}
	d.Exclude = nil
	mustApply(t, m, d)
	if !s.pings("192.0.2.1", patience) || !s.pings("2001:db8::1", patience) {
		t.Error("what is behind an excluded interface is not reached")
	}
	g.closed("behind an excluded interface")

	// A split tunnel: only what it holds is blocked.
	d.ExcludeBehind, d.KillSwitch.Routes = nil, prefixes("203.0.113.4/30", "2001:db8:5::/48")
	mustApply(t, m, d)
	if !s.pings("192.0.2.1", patience) || !s.pings("203.0.113.10", patience) {
		t.Error("what is not the tunnel's is blocked")
	}
	g.closed("split tunnel")

	// Many exclusions, and all of that in one transaction.
	d.KillSwitch.Routes = prefixes("0.0.0.0/0", "::/0")
	for i := range 3000 {
		d.Exclude = append(d.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 24))
	}
	mustApply(t, m, d)
	g.closed("with 3000 exclusions")
}

// Rules change, processes take over, the table is named as somebody else's was:
// while packets are sent without a pause none gets through.
func TestKernelKillSwitchHasNoGap(t *testing.T) {
	g := newGuarded(t)
	s := g.client
	k := s.host()
	m := testManager(t, k)
	d := guardedWish()
	mustApply(t, m, d)
	before := g.seen()

	var stop atomic.Bool
	sent := make(chan int)
	u := s.udp(":0", 0)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			u.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(foreign4, 9))
		}
		sent <- n
	}()
	for i := range 60 {
		d.Exclude = prefixes(fmt.Sprintf("198.51.100.%d/32", i))
		d.KillSwitch.Learning = i%2 == 0
		mustApply(t, m, d)
		if i%10 == 9 {
			die(t, m.path)
			m = New(k, m.path, slog.New(slog.DiscardHandler))
		}
		if i%20 == 19 {
			// As an older version may have made it.
			s.run("nft", "delete chain inet braid-killswitch-braid0 forward; add chain inet braid-killswitch-braid0 forward { type filter hook forward priority 5; policy drop; }")
		}
	}
	stop.Store(true)
	n := <-sent
	time.Sleep(50 * time.Millisecond)
	if leaked := g.seen() - before; leaked > 0 || n < 100 {
		t.Errorf("of %d packets %d got through", n, leaked)
	}
	g.closed("after all that")
}

// A firewall that is reloaded throws the table away: that is noticed.
func TestKernelWatchNetworks(t *testing.T) {
	g := newGuarded(t)
	s := g.client
	m := testManager(t, s.host())
	d := guardedWish()
	d.ExcludeBehind = []string{"vpn*"}
	mustApply(t, m, d)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	k := s.host()
	go func() {
		ended <- k.ns.do(func() error { return WatchNetworks(ctx, func() { m.Apply(d) }) })
	}()
	look := s.host()
	rules := func() string {
		texts, _, err := look.KillSwitch(killSwitchTable("braid0"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(texts, "\n")
	}
	whole := rules()
	// Until it watches it may miss one.
	eventually(t, func() bool {
		s.run("nft", "flush", "ruleset")
		for range 50 {
			if rules() == whole {
				return true
			}
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}, func() string { return "after a flush the table is\n" + rules() })

	s.veth("vpn0", g.out, "vpn0")
	s.ip("addr add 198.51.100.2/24 dev vpn0")
	s.ip("route add 198.18.0.0/15 dev vpn0 table 52")
	eventually(t, func() bool {
		return strings.Contains(rules(), "oifname vpn0 ip daddr 198.51.100.0/24 accept") && strings.Contains(rules(), "oifname vpn0 ip daddr 198.18.0.0/15 accept")
	}, func() string { return "with a new interface the table is\n" + rules() })
	g.closed("with an excluded interface")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
