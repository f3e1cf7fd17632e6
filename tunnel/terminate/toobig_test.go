package terminate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"braid/tunnel/wire"
)

// withIPv6 gives a fixture the second family.
func (f *fixture) withIPv6() *fixture {
	f.table.families[1] = newFamily(netip.MustParseAddr("fd77::2"), 999, []netip.Addr{netip.MustParseAddr("fd77::240")})
	f.table.families[1].dial = dialPort
	return f
}

// dialledOpen makes an open connection with four bytes on the way, that begin
// at ourISN + 1.
func (f *fixture) dialledOpen(tb testing.TB, src, dst string) *entry {
	tb.Helper()
	e := f.dial(tb, src, dst)
	f.handshake(e)
	f.table.connected(e, f.now)
	f.send(tcpPacket{src: e.local.source().String(), dst: e.local.destination().String(), flags: flagACK, seq: ourISN + 1, data: []byte("data")})
	return e
}

// An error about a packet that is on the way becomes one about the local
// socket's.
func TestTooBigRetargets(t *testing.T) {
	for _, tt := range []struct {
		src, dst  string
		typ, code uint8
		header    int
	}{
		{peer4, serve4, icmpUnreachable, icmpTooBig, 20}, {peer6, serve6, icmp6TooBig, 0, 40},
	} {
		f := newFixture().withIPv6()
		e := f.dialledOpen(t, tt.src, tt.dst)
		// Whole, with options before the error, and cut after the quoted
		// sequence number.
		whole := icmpAbout(tt.src, tt.dst, ourISN+1, tt.typ, tt.code)
		binary.BigEndian.PutUint16(whole[wire.VnetLen+tt.header+6:], 1300)
		for name, in := range map[string][]byte{"whole": bytes.Clone(whole), "cut": bytes.Clone(whole[:len(whole)-minTCP+8]), "options": withOptions(whole)} {
			mendICMP(in)
			f.written = nil
			if !f.Packet(in, f.now) || len(f.written) != 1 {
				t.Fatalf("%s: %d packets", name, len(f.written))
			}
			out := f.written[0]
			if err := wire.CheckPacket(out); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			ip := out[wire.VnetLen:]
			if src, dst, _ := wire.Addresses(ip); dst != e.local.source().Addr() || src != e.local.destination().Addr() {
				t.Errorf("%s: from %v to %v", name, src, dst)
			}
			var x icmpError // its checksum included
			if !parseICMP(out, &x) || !x.tooBig || x.quoted != e.local || x.seq != ourISN+1 {
				t.Errorf("%s: became %+v", name, x)
			}
			if got := binary.BigEndian.Uint16(ip[x.message+6:]); got != 1300 {
				t.Errorf("%s: MTU %d", name, got)
			}
			if x.v6 {
				continue
			}
			if checksum(ip[:x.message], 0) != 0xffff {
				t.Errorf("%s: header checksum", name)
			}
			if quote := ip[x.message+sizeICMP:]; checksum(quote[:20], 0) != 0xffff {
				t.Errorf("%s: checksum of the quoted header", name)
			}
		}
		// The quoted packet, whole, is a good one of the local socket's.
		mendICMP(whole)
		quote := f.retargeted(t, whole, tt.header)
		verify(t, append(make([]byte, wire.VnetLen), quote...))
		if s := f.Stats(); s.TooBig != 4 {
			t.Errorf("%+v", s)
		}
	}
}

// retargeted returns the quote of what an error is made of.
func (f *fixture) retargeted(tb testing.TB, in []byte, header int) []byte {
	tb.Helper()
	f.written = nil
	f.Packet(in, f.now)
	if len(f.written) != 1 {
		tb.Fatal("not rewritten")
	}
	return f.written[0][wire.VnetLen+header+sizeICMP:]
}

// withOptions puts options between the IP header and the ICMP error.
func withOptions(p []byte) []byte {
	if ip := p[wire.VnetLen:]; ip[0]>>4 == 4 {
		q := append(bytes.Clone(p[:wire.VnetLen+20]), append([]byte{1, 1, 1, 0}, ip[20:]...)...)
		q[wire.VnetLen]++
		return q
	}
	q := append(bytes.Clone(p[:wire.VnetLen+40]), append([]byte{protoICMP6, 0, 1, 4, 0, 0, 0, 0}, p[wire.VnetLen+40:]...)...)
	q[wire.VnetLen+6] = 60
	return q
}

// mendICMP corrects the lengths and checksums before the quoted packet.
func mendICMP(p []byte) {
	ip := p[wire.VnetLen:]
	if ip[0]>>4 == 6 {
		off, _ := upper6(ip)
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		h := ip[off:]
		h[2], h[3] = 0, 0
		binary.BigEndian.PutUint16(h[2:], ^checksum(h, pseudo([16]byte(ip[8:]), [16]byte(ip[24:]), protoICMP6, len(h))))
		return
	}
	n := int(ip[0]&15) * 4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[10], ip[11], ip[n+2], ip[n+3] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^checksum(ip[:n], 0))
	binary.BigEndian.PutUint16(ip[n+2:], ^checksum(ip[n:], 0))
}

// What quotes nothing that is on the way is carried like any packet, unchanged.
func TestTooBigOfOthers(t *testing.T) {
	const nobody = "192.168.9.9:80"
	tests := []struct {
		name     string
		src, dst string
		seq      uint32
		change   func(f *fixture, e *entry)
	}{
		{"another destination", peer, nobody, ourISN + 1, nil},
		{"another port", "198.51.100.7:5001", service, ourISN + 1, nil},
		{"the other direction", service, peer, ourISN + 1, nil},
		{"acknowledged", peer, service, ourISN, nil},
		{"not sent yet", peer, service, ourISN + 5, nil},
		{"long ago", peer, service, (ourISN + 1 + 1<<31) % (1 << 32), nil},
		{"acknowledged since", peer, service, ourISN + 1, func(f *fixture, e *entry) { f.from(e.key, flagACK, theirISN+1, ourISN+5) }},
		{"of another connection since", peer, service, ourISN + 1, func(f *fixture, e *entry) {
			f.from(e.key, flagRST, theirISN+1, 0)
			f.from(e.key, flagSYN, 7, 0)
		}},
	}
	for _, tt := range tests {
		f := newFixture()
		e := f.dialledOpen(t, peer, service)
		if tt.change != nil {
			tt.change(f, e)
		}
		in := icmpAbout(tt.src, tt.dst, tt.seq, icmpUnreachable, icmpTooBig)
		orig := bytes.Clone(in)
		f.written = nil
		if f.Packet(in, f.now) || len(f.written) != 0 || !bytes.Equal(in, orig) {
			t.Errorf("%s: taken", tt.name)
		}
		if n := f.Stats().TooBig; n != 0 {
			t.Errorf("%s: counted %d", tt.name, n)
		}
	}
	// Nor is one about the local socket's own addresses, or a damaged one.
	f := newFixture()
	e := f.dialledOpen(t, peer, service)
	f.written = nil
	f.Packet(icmpAbout(e.local.source().String(), e.local.destination().String(), ourISN+1, icmpUnreachable, icmpTooBig), f.now)
	damaged := icmpAbout(peer, service, ourISN+1, icmpUnreachable, icmpTooBig)
	damaged[wire.VnetLen+20+7]++
	f.Packet(damaged, f.now)
	// An acknowledgement of what was never sent changes nothing.
	f.from(e.key, flagACK, theirISN+1, ourISN+1000)
	if f.written = nil; !f.Packet(icmpAbout(peer, service, ourISN+1, icmpUnreachable, icmpTooBig), f.now) {
		t.Error("a false acknowledgement was believed")
	}
	if n := f.Stats().TooBig; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// Sequence numbers wrap.
func TestOnTheWay(t *testing.T) {
	tests := []struct {
		acked, sent, seq uint32
		want             bool
	}{
		{10, 20, 10, true}, {10, 20, 19, true}, {10, 20, 20, false}, {10, 20, 9, false}, {10, 10, 10, false},
		{1<<32 - 5, 5, 1<<32 - 5, true}, {1<<32 - 5, 5, 0, true}, {1<<32 - 5, 5, 5, false}, {1<<32 - 5, 5, 1<<32 - 6, false},
	}
	for _, tt := range tests {
		if got := (&entry{acked: tt.acked, sent: tt.sent}).onTheWay(tt.seq); got != tt.want {
			t.Errorf("%d in %d to %d: %v", tt.seq, tt.acked, tt.sent, got)
		}
	}
}

// narrowMTU is of the path behind the host, bytes.
const narrowMTU = 1300

// narrow lowers what this thread's namespace forwards to the network of a
// device. The other direction stays as wide as the device.
func narrow(device string, networks ...string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, network := range networks {
		_, dst, err := net.ParseCIDR(network)
		if err != nil {
			return err
		}
		r := netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, MTU: narrowMTU, MTULock: true}
		if dst.IP.To4() == nil {
			r.Priority = 1 // before the kernel's own
		}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("narrow the way to %s: %w", network, err)
		}
	}
	return nil
}

// digest answers what it is sent with its length and the source, so that the
// bulk goes one way.
func digest(c *net.TCPConn) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	n, err := io.Copy(io.Discard, c)
	fmt.Fprintf(c, "%d %v %v", n, c.RemoteAddr(), err)
}

// far makes a host beyond the one that lan calls it in, which becomes a narrow
// router:
//
//	host ─ lan0 192.168.9.1 ─ 192.168.9.2 ─ 192.168.8.1 far0 ─ 192.168.8.2 eth0
func far(stop <-chan struct{}) error {
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
			return err
		}
	}
	ns, ready, served := make(chan *os.File, 1), make(chan bool), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
		}
		self, _ := os.Open("/proc/thread-self/ns/net")
		ns <- self
		<-ready
		if err == nil {
			err = setUp("eth0", "192.168.8.2/24", "fd08::2/64")
		}
		for dst, gw := range map[string]string{"0.0.0.0/0": "192.168.8.1", "::/0": "fd08::1"} {
			_, all, _ := net.ParseCIDR(dst)
			err = errors.Join(err, netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP(gw)}))
		}
		served <- errors.Join(err, listenAt(stop, "192.168.8.2:80", digest), listenAt(stop, "[fd08::2]:80", digest))
	}()
	there := <-ns
	if there == nil {
		return errors.New("no namespace")
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "far0"
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(there.Fd())})
	if err == nil {
		err = setUp("far0", "192.168.8.1/24", "fd08::1/64")
	}
	close(ready)
	return errors.Join(err, <-served, narrow("far0", "192.168.8.0/24", "fd08::/64"))
}

// A path behind the host that is narrower than the TUN, at the host itself and
// at a router behind it: bulk passes.
func TestDialNarrowPath(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	setSysctl(t, "ipv4/conf/all/rp_filter", "1")
	behind := h.lan(t, func() error {
		stop := t.Context().Done()
		return errors.Join(far(stop), listenAt(stop, other4, digest), listenAt(stop, other6, digest))
	})
	if err := receive(t, behind); err != nil {
		t.Fatal(err)
	}
	err := narrow("lan0", "192.168.9.0/24", "fd09::/64")
	for dst, gw := range map[string]string{"192.168.8.0/24": "192.168.9.2", "fd08::/64": "fd09::2"} {
		_, n, _ := net.ParseCIDR(dst)
		err = errors.Join(err, netlink.RouteAdd(&netlink.Route{Dst: n, Gw: net.ParseIP(gw)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	told := uint64(0)
	for i, to := range []string{"192.168.8.2:80", "[fd08::2]:80", other4, other6} {
		from := fmt.Sprintf("198.51.100.7:%d", 5000+i)
		if to[0] == '[' {
			from = fmt.Sprintf("[2001:db8:1::7]:%d", 5000+i)
		}
		c, err := h.dialFrom(t, from, to)
		if err != nil {
			t.Fatal(to, err)
		}
		const size = 3 << 20
		c.Write(random(size, 7))
		c.CloseWrite()
		b, err := io.ReadAll(c)
		c.Close()
		if want := fmt.Sprintf("%d %s <nil>", size, from); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", to, b, err, want)
		}
		n := h.Stats().TooBig
		if n == told {
			t.Errorf("%s: the local socket was told nothing", to)
		}
		t.Logf("%s: told %d times", to, n-told)
		told = n
	}
}

// The mirror image: a program behind the host downloads over a narrow path.
func TestAcceptNarrowPath(t *testing.T) {
	data := random(3<<20, 8)
	h := newHost(t, serve(t, func(c *Conn) {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write(data)
		c.Close()
	}), nil)
	start := make(chan struct{})
	got := h.lan(t, func() error {
		<-start
		for _, to := range []string{dest4, dest6} {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			b, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(b, data) {
				return fmt.Errorf("%s: %d bytes came: %w", to, len(b), err)
			}
		}
		return nil
	})
	err := narrow("lan0", "192.168.9.0/24", "fd09::/64")
	close(start)
	if err = errors.Join(err, receive(t, got)); err != nil {
		t.Fatal(err)
	}
	if n := h.Stats().TooBig; n < 2 {
		t.Errorf("local sockets were told %d times", n)
	} else {
		t.Logf("told %d times", n)
	}
}
