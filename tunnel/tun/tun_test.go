package tun

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"braid/tunnel/wire"
)

// inNamespace moves the test to a network namespace of its own, for good: its
// thread ends with it.
func inNamespace(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root, to make a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		tb.Fatal(err)
	}
}

// open makes a device that is up with 10.7.0.1/24.
func open(tb testing.TB) *Device {
	tb.Helper()
	inNamespace(tb)
	d, err := Create("tuntest")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		tb.Fatal(err)
	}
	addr, err := netlink.ParseAddr("10.7.0.1/24")
	if err != nil {
		tb.Fatal(err)
	}
	// No IPv6: its router solicitations would come between.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/tuntest/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
		tb.Fatal(err)
	}
	return d
}

// echoRequest is a virtio-net header and a ping from 10.7.0.2 to 10.7.0.1.
func echoRequest(size int) []byte {
	p := make([]byte, wire.VnetLen+28+size)
	ip := p[wire.VnetLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 7, 0, 2})
	copy(ip[16:], []byte{10, 7, 0, 1})
	ip[20] = 8
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	binary.BigEndian.PutUint16(ip[22:], checksum(ip[20:]))
	return p
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestPingThroughDevice(t *testing.T) {
	d := open(t)
	const n, headroom = 5, 4
	for i := range n {
		if err := d.Write(echoRequest(100 * i)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1<<20)
	for i := range buf {
		buf[i] = 0xAA
	}
	var sizes [16]int
	got := 0
	for got < n {
		count, err := d.ReadBatch(buf, headroom, sizes[:])
		if err != nil {
			t.Fatal(err)
		}
		off := 0
		for i := range count {
			if string(buf[off:off+headroom]) != "\xAA\xAA\xAA\xAA" {
				t.Fatal("the headroom was written to")
			}
			p := buf[off+headroom : off+headroom+sizes[i]]
			src, _, ok := wire.Addresses(p[wire.VnetLen:])
			if !ok || src != netip.MustParseAddr("10.7.0.1") || len(p) != wire.VnetLen+28+100*got {
				t.Fatalf("packet %d from %v with %d bytes", got, src, len(p))
			}
			if err := wire.NormalizePacket(p); err != nil {
				t.Fatal(err)
			}
			off += headroom + sizes[i]
			got++
		}
		for i := range off {
			buf[i] = 0xAA
		}
	}
}

// A bulk flow comes as super-packets, and its header is one that a peer takes.
func TestSuperPackets(t *testing.T) {
	d := open(t)
	c, err := net.Dial("udp4", "10.7.0.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000)
	}); err != nil || sockErr != nil {
		t.Skipf("the kernel has no UDP segmentation: %v %v", err, sockErr)
	}
	if !d.udp {
		t.Skip("the kernel's TUN has no UDP segmentation (before 6.2)")
	}
	if _, err := c.Write(make([]byte, 40_000)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	var sizes [4]int
	n, err := d.ReadBatch(buf, 0, sizes[:])
	if err != nil || n != 1 || sizes[0] != wire.VnetLen+28+40_000 {
		t.Fatalf("%d packets, the first of %d bytes, %v", n, sizes[0], err)
	}
	p := buf[:sizes[0]]
	if err := wire.NormalizePacket(p); err != nil {
		t.Fatal(err)
	}
	if err := wire.CheckPacket(p); err != nil {
		t.Fatal(err)
	}
	// And back in, as if a peer had sent it.
	copy(p[wire.VnetLen+12:], []byte{10, 7, 0, 2})
	copy(p[wire.VnetLen+16:], []byte{10, 7, 0, 1})
	if err := d.Write(p); err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsRead(t *testing.T) {
	d := open(t)
	done := make(chan error, 1)
	go func() {
		var sizes [1]int
		_, err := d.ReadBatch(make([]byte, 1<<17), 0, sizes[:])
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still reading")
	}
}

func TestCreateRefused(t *testing.T) {
	d := open(t)
	tests := []struct{ name, hint string }{
		{d.Name(), "another program has a device of that name"},
		{"a-name-that-is-too-long", "at most 15 characters"},
	}
	for _, tt := range tests {
		d, err := Create(tt.name)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), tt.hint) || e.Name != tt.name {
			t.Errorf("Create(%q) = %v, hint %q", tt.name, err, e.Hint())
			if err == nil {
				d.Close()
			}
		}
	}
}

// A packet that the kernel refuses is an error and nothing more.
func TestWriteRefused(t *testing.T) {
	d := open(t)
	bad := echoRequest(0)
	bad[wire.VnetLen] = 0x95
	if err := d.Write(bad); err == nil {
		t.Error("a packet of IP version 9 was taken")
	}
	if err := d.Write(echoRequest(0)); err != nil {
		t.Error(err)
	}
}

// turn returns one ping into the device and its answer out of it.
func turn(tb testing.TB) func() {
	d := open(tb)
	p := echoRequest(1400)
	buf := make([]byte, 1<<18)
	var sizes [8]int
	return func() {
		if err := d.Write(p); err != nil {
			tb.Fatal(err)
		}
		if _, err := d.ReadBatch(buf, 4, sizes[:]); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestDoesNotAllocate(t *testing.T) {
	f := turn(t)
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%v allocations per packet in and out", n)
	}
}

func BenchmarkDevice(b *testing.B) {
	f := turn(b)
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
}
