package hostnet

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guarded is a client's namespace with an uplink and a LAN:
//
//	┌──────┐ eth      lan ┌────────┐ wan       wan ┌─────┐
//	│ home ├──────────────┤ client ├───────────────┤ out │ 203.0.113.5, 203.0.113.10 and
//	└──────┘ .2        .1 └────────┘ .7         .1 └─────┘ 2001:db8:5::5 on its lo
//	      192.168.10.0/24         192.0.2.0/24
//	      fd00:10::/64            2001:db8::/64
//
// out counts what comes for 203.0.113.5 and 2001:db8:5::5.
type guarded struct {
	t                 *testing.T
	client, home, out *space
}

var (
	foreign4 = netip.MustParseAddr("203.0.113.5")
	foreign6 = netip.MustParseAddr("2001:db8:5::5")
	carriers = netip.MustParseAddrPort("203.0.113.10:443")
)

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t, newSpace(t), newSpace(t), newSpace(t)}
	g.client.veth("wan", g.out, "wan")
	g.client.veth("lan", g.home, "eth")
	g.client.ip(`addr add 192.0.2.7/24 dev wan
addr add 2001:db8::7/64 dev wan
addr add 192.168.10.1/24 dev lan
addr add fd00:10::1/64 dev lan
route add default via 192.0.2.1
-6 route add default via 2001:db8::1`)
	g.out.ip(`addr add 192.0.2.1/24 dev wan
addr add 2001:db8::1/64 dev wan
addr add 203.0.113.5/32 dev lo
addr add 203.0.113.10/32 dev lo
addr add 2001:db8:5::5/128 dev lo
route add 192.168.10.0/24 via 192.0.2.7
-6 route add fd00:10::/64 via 2001:db8::7`)
	g.home.ip(`addr add 192.168.10.2/24 dev eth
addr add fd00:10::2/64 dev eth
route add default via 192.168.10.1
-6 route add default via fd00:10::1`)
	g.client.sysctl("net.ipv4.ip_forward", "1")
	g.client.sysctl("net.ipv6.conf.all.forwarding", "1")
	g.out.run("nft", `table inet seen {
	counter foreign {}
	chain prerouting {
		type filter hook prerouting priority raw;
		ip daddr 203.0.113.5 counter name foreign
		ip6 daddr 2001:db8:5::5 counter name foreign
	}
}`)
	return g
}

var counted = regexp.MustCompile(`packets (\d+)`)

// seen is how many packets have come out for the foreign host.
func (g *guarded) seen() int {
	g.t.Helper()
	m := counted.FindStringSubmatch(g.out.run("nft", "list", "counter", "inet", "seen", "foreign"))
	if m == nil {
		g.t.Fatal("the counter is gone")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// try sends a packet of each kind to the foreign host, from this host and from
// the one behind it, by routing and past it.
func (g *guarded) try() {
	g.t.Helper()
	g.sendAll(g.client, "wan")
	g.sendAll(g.home, "eth")
}

// sendAll sends UDP, an echo request and a TCP SYN of both families, each also
// bound to a device. Whether that fails is not asked.
func (g *guarded) sendAll(s *space, device string) {
	g.t.Helper()
	s.do(func() {
		for _, to := range []netip.Addr{foreign4, foreign6} {
			for _, bound := range []string{"", device} {
				sendOne(to, unix.SOCK_DGRAM, unix.IPPROTO_UDP, bound, []byte("user's"))
				sendOne(to, unix.SOCK_STREAM, unix.IPPROTO_TCP, bound, nil)
				if to.Is4() {
					sendOne(to, unix.SOCK_RAW, unix.IPPROTO_ICMP, bound, echoRequest(8))
				} else {
					sendOne(to, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, bound, echoRequest(128))
				}
			}
		}
	})
}

// echoRequest has its checksum for ICMP; for ICMPv6 the kernel makes it.
func echoRequest(kind byte) []byte {
	b := []byte{kind, 0, 0, 0, 0, 1, 0, 1}
	binary.BigEndian.PutUint16(b[2:], ^(uint16(kind)<<8 + 2))
	return b
}

func sendOne(to netip.Addr, kind, protocol int, device string, payload []byte) error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: 7, Addr: to.As16()})
	if to.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: 7, Addr: to.As4()}
	}
	if kind == unix.SOCK_RAW && !to.Is4() {
		address.(*unix.SockaddrInet6).Port = 0
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return err
		}
	}
	if payload == nil {
		return unix.Connect(fd, address)
	}
	return unix.Sendto(fd, payload, 0, address)
}

// closed tries and demands that nothing came out.
func (g *guarded) closed(when string) {
	g.t.Helper()
	before := g.seen()
	g.try()
	time.Sleep(50 * time.Millisecond) // a veth delivers at once; neighbours are asked first
	if n := g.seen() - before; n > 0 {
		g.t.Errorf("%s: %d packets left beside the tunnel", when, n)
	}
}

// open tries until something comes out.
func (g *guarded) open(when string) {
	g.t.Helper()
	before := g.seen()
	eventually(g.t, func() bool { g.try(); return g.seen() > before }, func() string { return when + ": nothing leaves" })
}

func guardedWish() Desired {
	return Desired{Mark: 0xb1, KillSwitch: KillSwitch{Device: "braid0", Routes: prefixes("0.0.0.0/0", "::/0"), Servers: []netip.AddrPort{carriers}}}
}

// refusalTime is how long a test waits for what must not come.
const refusalTime = 300 * time.Millisecond

// waitFor is how long a test waits for what comes or, it is hoped, does not.
func waitFor(want bool) time.Duration {
	if want {
		return patience
	}
	return refusalTime
}

// connects reports whether a TCP connection with a mark (0: none) comes about.
func (s *space) connects(to string, mark int, wait time.Duration) bool {
	s.t.Helper()
	d := net.Dialer{Timeout: wait, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }), err)
	}}
	var c net.Conn
	var err error
	s.do(func() { c, err = d.Dial("tcp", to) })
	if err == nil {
		c.Close()
	}
	return err == nil
}

func (s *space) listen(address string) net.Listener {
	s.t.Helper()
	var l net.Listener
	var err error
	if s.do(func() { l, err = net.Listen("tcp", address) }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	return l
}

// pings reports whether an address answers within some time.
func (s *space) pings(args string, wait time.Duration) bool {
	for deadline := time.Now().Add(wait); ; {
		var err error
		s.do(func() {
			err = exec.Command("ping", append([]string{"-q", "-c", "1", "-W", "0.3"}, strings.Fields(args)...)...).Run()
		})
		if err == nil || time.Now().After(deadline) {
			return err == nil
		}
	}
}

func (s *space) sendUDP(to netip.Addr) {
	s.do(func() { sendOne(to, unix.SOCK_DGRAM, unix.IPPROTO_UDP, "", []byte("user's")) })
}
