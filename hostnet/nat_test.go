package hostnet

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// udpPacket builds an IP packet as a TUN takes it.
func udpPacket(from, to netip.AddrPort, payload string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)

	src, dst := from.Addr().AsSlice(), to.Addr().AsSlice()
	sum := func(sum uint32, b []byte) uint32 {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(b[i]) << 8
			if i+1 < len(b) {
				sum += uint32(b[i+1])
			}
		}
		return sum
	}
	fold := func(sum uint32) uint16 {
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		return ^uint16(sum)
	}
	pseudo := sum(sum(17+uint32(len(udp)), src), dst)
	binary.BigEndian.PutUint16(udp[6:], fold(sum(pseudo, udp)))

	if from.Addr().Is4() {
		ip := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, src...), dst...)
		binary.BigEndian.PutUint16(ip[10:], fold(sum(0, ip)))
		return append(ip, udp...)
	}
	ip := []byte{0x60, 0, 0, 0, 0, 0, 17, 64}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
	return append(append(append(ip, src...), dst...), udp...)
}

// throughTUN sends a packet into a TUN until the echo's answer comes out of
// it, and returns what the echo saw as the sender.
func throughTUN(t *testing.T, tun *os.File, from, to string) string {
	t.Helper()
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	packet := udpPacket(src, dst, "ping")
	buf := make([]byte, 2000)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := tun.Write(packet); err != nil {
			t.Fatal(err)
		}
		tun.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := tun.Read(buf)
			if err != nil {
				break
			}
			header, addr := 20, dst.Addr().AsSlice()
			at := buf[12:16]
			if dst.Addr().Is6() {
				header, at = 40, buf[8:24]
			}
			if n > header+8 && slices.Equal(at, addr) && binary.BigEndian.Uint16(buf[header+2:]) == src.Port() {
				return string(buf[header+8 : n])
			}
		}
	}
	t.Fatalf("no answer for %s from %s", from, to)
	return ""
}

// A server: what comes out of its TUN leaves with its own address, and what
// comes back finds its way. The other end knows no route to the tunnel.
func TestKernelServer(t *testing.T) {
	s, out := newSpace(t), newSpace(t)
	s.veth("wan", out, "wan")
	s.ip("addr add 192.0.2.7/24 dev wan\n-6 addr add 2001:db8::7/64 dev wan")
	out.ip("addr add 192.0.2.1/24 dev wan\n-6 addr add 2001:db8::1/64 dev wan\nroute add 10.77.0.0/24 via 192.0.2.7")
	s.sysctl("net.ipv4.conf.wan.forwarding", "1") // somebody's setting, to be found again
	out.echo("192.0.2.1:7")
	out.echo("[2001:db8::1]:7")
	tun := s.tun("braid0")
	before := s.snapshot()

	m := testManager(t, s.host())
	d := Desired{
		Device: "braid0", Addresses: prefixes("10.77.0.1/24", "fd77::1/64"), Routes: prefixes("192.168.10.0/24"),
		Masquerade: prefixes("10.77.0.0/24", "fd77::/64", "192.168.10.0/25"), Forwarding: true,
		Sysctls: map[string]string{"net.mptcp.blackhole_timeout": "0"},
	}
	mustApply(t, m, d)
	if got := throughTUN(t, tun, "10.77.0.2:4000", "192.0.2.1:7"); got != "192.0.2.7" {
		t.Errorf("IPv4: the other end saw %q", got)
	}
	if got := throughTUN(t, tun, "[fd77::2]:4000", "[2001:db8::1]:7"); got != "2001:db8::7" {
		t.Errorf("IPv6: the other end saw %q", got)
	}
	if got := throughTUN(t, tun, "192.168.10.9:4000", "192.0.2.1:7"); got != "192.0.2.7" {
		t.Errorf("a client's network: the other end saw %q", got)
	}
	if got := s.routeTo("192.168.10.200"); got != "braid0" {
		t.Errorf("a client's network is reached by %s", got)
	}

	// Nobody wishes more, nothing changes; the firewall is reloaded, it is
	// made again.
	done := len(m.done)
	mustApply(t, m, d)
	if len(m.done) != done {
		t.Errorf("applying again: %q", m.done[done:])
	}
	s.run("nft", "flush", "ruleset")
	mustApply(t, m, d)
	if len(m.done) != done+1 {
		t.Errorf("after a flush: %q", m.done[done:])
	}

	// The ranges change: one table, other rules.
	d.Masquerade = prefixes("192.168.10.0/25", "fd77::/64")
	mustApply(t, m, d)
	if got := throughTUN(t, tun, "10.77.0.2:4001", "192.0.2.1:7"); got != "10.77.0.2" {
		t.Errorf("no longer masqueraded: the other end saw %q", got)
	}
	if got := throughTUN(t, tun, "192.168.10.9:4001", "192.0.2.1:7"); got != "192.0.2.7" {
		t.Errorf("still masqueraded: the other end saw %q", got)
	}

	s.run("nft", "add", "table", "inet", "other")
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	s.run("nft", "delete", "table", "inet", "other") // is there
	s.mustBeAsBefore(before)
}
