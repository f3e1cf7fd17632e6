package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// router is a namespace that forwards between two devices, the second of which
// takes no super-packets: the kernel cuts them.
//
//	10.1.0.2, fd01::2 ─ tunin ─ kernel ─ tunout ─ 10.2.0.2, fd02::2
type router struct {
	t       *testing.T
	in, out *Device
	buf     []byte
}

func newRouter(t *testing.T) *router {
	inNamespace(t)
	r := &router{t: t, buf: make([]byte, 1<<20)}
	for i, d := range []**Device{&r.in, &r.out} {
		name := []string{"tunin", "tunout"}[i]
		dev, err := Create(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		*d = dev
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		addr4, _ := netlink.ParseAddr(fmt.Sprintf("10.%d.0.1/24", i+1))
		addr6, _ := netlink.ParseAddr(fmt.Sprintf("fd%02d::1/64", i+1))
		if err := errors.Join(netlink.AddrAdd(link, addr4), netlink.AddrAdd(link, addr6), netlink.LinkSetUp(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	var failed error
	if err := r.out.conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, 0)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if err := r.out.file.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return r
}

// cut returns the packets that the kernel makes of n segments.
func (r *router) cut(payload []byte, n int) (out [][]byte) {
	r.t.Helper()
	if err := wire.CheckPacket(payload); err != nil {
		r.t.Fatalf("a peer would refuse it: %v", err)
	}
	version := payload[wire.VnetLen] >> 4
	if err := r.in.Write(slices.Clone(payload)); err != nil {
		r.t.Fatalf("the kernel refuses %x: %v", payload[:wire.VnetLen], err)
	}
	var sizes [64]int
	for len(out) < n {
		count, err := r.out.ReadBatch(r.buf, 0, sizes[:])
		if err != nil {
			r.t.Fatalf("%d of %d packets: %v", len(out), n, err)
		}
		off := 0
		for _, size := range sizes[:count] {
			p := r.buf[off : off+size]
			off += size
			ip := p[wire.VnetLen:]
			if ip[0]>>4 != version || version == 6 && ip[6] != payload[wire.VnetLen+6] {
				continue // of the kernel's own: router solicitations, multicast reports
			}
			if p[1] != 0 {
				r.t.Fatalf("the kernel did not cut: %x", p[:wire.VnetLen])
			}
			out = append(out, slices.Clone(p))
		}
	}
	return out
}

// superPacket is of 10.1.0.2 or fd01::2, with a partial checksum.
func superPacket(v6, udp bool, size, data int, flags byte) []byte {
	protocol, l4, csum := byte(6), 32, 16
	if udp {
		protocol, l4, csum = 17, 8, 6
	}
	start, kind := 20, byte(1)
	if v6 {
		start, kind = 40, 4
	}
	if udp {
		kind = 5
	}
	b := make([]byte, wire.VnetLen+start+l4+data)
	le, be := binary.LittleEndian, binary.BigEndian
	b[0], b[1] = 1, kind
	le.PutUint16(b[2:], uint16(start+l4))
	le.PutUint16(b[4:], uint16(size))
	le.PutUint16(b[6:], uint16(start))
	le.PutUint16(b[8:], uint16(csum))
	ip := b[wire.VnetLen:]
	addresses := ip[12:20]
	if v6 {
		addresses = ip[8:40]
		ip[0], ip[6], ip[7] = 0x60, protocol, 64
		be.PutUint16(ip[4:], uint16(l4+data))
		copy(ip[8:], []byte{0xfd, 1, 15: 2})
		copy(ip[24:], []byte{0xfd, 2, 15: 2})
	} else {
		ip[0], ip[1], ip[8], ip[9] = 0x45, 2, 64, protocol // ECT(0)
		be.PutUint16(ip[2:], uint16(len(ip)))
		be.PutUint16(ip[4:], 0xfffe)
		copy(addresses, []byte{10, 1, 0, 2, 10, 2, 0, 2})
		be.PutUint16(ip[10:], checksum(ip[:20]))
	}
	h := ip[start:]
	be.PutUint16(h, 1000)
	be.PutUint16(h[2:], 9)
	if udp {
		be.PutUint16(h[4:], uint16(len(h)))
	} else {
		be.PutUint32(h[4:], math.MaxUint32-3000)
		h[12], h[13] = byte(l4/4)<<4, flags
		copy(h[20:], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	for i := l4; i < len(h); i++ {
		h[i] = byte(i * i >> 3)
	}
	pseudo := append(slices.Clone(addresses), 0, protocol, byte(len(h)>>8), byte(len(h)))
	be.PutUint16(h[csum:], ^checksum(pseudo))
	return b
}

// What package queue leaves of a super-packet, the kernel cuts into the segments
// that it makes of the whole.
func TestKernelCutsTheSame(t *testing.T) {
	r := newRouter(t)
	for _, test := range []struct {
		name       string
		v6, udp    bool
		size, data int
		flags      byte
	}{
		{"TCP", false, false, 1448, 20*1448 - 5, 0x18},
		{"TCP with CWR and FIN", false, false, 1000, 5000, 0x99},
		{"TCP 6", true, false, 1428, 10*1428 + 1, 0x18},
		{"TCP 6 with CWR", true, false, 1428, 5*1428 + 1, 0x90},
		{"UDP", false, true, 1200, 9*1200 + 7, 0},
		{"UDP 6", true, true, 1200, 4 * 1200, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.t = t
			if test.udp && !r.in.udp {
				t.Skip("the kernel's TUN has no UDP segmentation (before 6.2)")
			}
			whole := superPacket(test.v6, test.udp, test.size, test.data, test.flags)
			n := (test.data + test.size - 1) / test.size
			want := r.cut(whole, n)

			rest, dropped := slices.Clone(whole), 0
			for ok := true; ; {
				if rest, ok = queue.DropSegment(rest); !ok {
					break
				}
				dropped++
				same(t, r.cut(rest, n-dropped), want[dropped:])
			}
			if dropped != n-1 {
				t.Fatalf("%d of %d segments removed", dropped, n)
			}

			for _, room := range []int{0, 2500, 5000} {
				q := queue.New[int](queue.Params{}, maphash.MakeSeed(), nil)
				payload := slices.Clone(whole)
				h, _ := queue.Parse(payload)
				q.Push(time.Now(), &h, queue.Packet[int]{Payload: payload})
				var got [][]byte
				for {
					p, ok := q.Pop(time.Now(), room)
					if !ok {
						break
					}
					h, _ := queue.Parse(p.Payload)
					got = append(got, r.cut(p.Payload, h.Segments)...)
				}
				same(t, got, want)
			}
		})
	}
}

func same(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d of %d:\n%x\nwant\n%x", i, len(got), got[i][:min(80, len(got[i]))], want[i][:min(80, len(want[i]))])
		}
	}
}
