package terminate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"braid/tunnel/tun"
	"braid/tunnel/wire"
)

const (
	dest4 = "198.51.100.7:80"
	dest6 = "[2001:db8:1::7]:80"
)

// host is a network namespace with a TUN and a Terminator at it:
//
//	program ─ 10.77.0.2, fd77::2 ─ tun ─ 198.51.100.0/24, 2001:db8:1::/48
//	           (fakes .240–.242, ::240–::242)
//
// The test's goroutine is the only one in the namespace: only it may dial.
type host struct {
	*Terminator
	dev     *tun.Device
	passed  atomic.Int64 // packets that were not captured
	refused atomic.Int64 // packets that the TUN did not take
}

func newHost(tb testing.TB, accept func(*Pending), change func(*Config)) *host {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root, to make a network namespace")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		tb.Fatal(err)
	}
	dev, err := tun.Create("tun0")
	if err != nil {
		tb.Fatal(err)
	}
	h := &host{dev: dev}
	h.configure(tb)
	c := Config{
		Local4: netip.MustParseAddr("10.77.0.2"), Local6: netip.MustParseAddr("fd77::2"),
		Device: "tun0", Write: h.write, Accept: accept,
	}
	for _, a := range []string{"10.77.0.240", "10.77.0.241", "10.77.0.242"} {
		c.Fakes4 = append(c.Fakes4, netip.MustParseAddr(a))
	}
	for _, a := range []string{"fd77::240", "fd77::241", "fd77::242"} {
		c.Fakes6 = append(c.Fakes6, netip.MustParseAddr(a))
	}
	if change != nil {
		change(&c)
	}
	if h.Terminator, err = New(c); err != nil {
		tb.Fatal(err)
	}
	h.start(tb)
	return h
}

func (h *host) configure(tb testing.TB) {
	tb.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		tb.Fatal(err)
	}
	link, err := netlink.LinkByName("tun0")
	if err != nil {
		tb.Fatal(err)
	}
	for _, a := range []string{"10.77.0.2/24", "fd77::2/64"} {
		addr, err := netlink.ParseAddr(a)
		if err == nil {
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD // or it could not be dialled from at once
			}
			err = netlink.AddrAdd(link, addr)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		tb.Fatal(err)
	}
	for _, r := range []string{"198.51.100.0/24", "2001:db8:1::/48"} {
		_, dst, err := net.ParseCIDR(r)
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst})
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func (h *host) write(p []byte) error {
	err := h.dev.Write(p)
	if err != nil {
		h.refused.Add(1)
	}
	return err
}

// start runs the Terminator and the one reader until the test ends.
func (h *host) start(tb testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.Run(ctx); !errors.Is(err, context.Canceled) {
			tb.Errorf("Run = %v", err)
		}
	})
	wg.Go(func() {
		buf := make([]byte, 4*wire.MaxPayloadLen)
		var sizes [64]int
		for {
			n, err := h.dev.ReadBatch(buf, 0, sizes[:])
			if err != nil {
				return
			}
			off := 0
			for _, size := range sizes[:n] {
				if !h.Packet(buf[off:off+size:off+size], time.Now()) {
					h.passed.Add(1)
				}
				off += size
			}
		}
	})
	tb.Cleanup(func() {
		if n := h.refused.Load(); n > 0 {
			tb.Errorf("the TUN refused %d packets", n)
		}
		cancel()
		h.dev.Close()
		wg.Wait()
	})
}

// serve accepts each connection and gives it to handle, in a goroutine.
func serve(tb testing.TB, handle func(*Conn)) func(*Pending) {
	return func(p *Pending) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, err := p.Accept(ctx)
			if err != nil {
				tb.Errorf("Accept: %v", err)
				return
			}
			handle(c)
		}()
	}
}

func dial(tb testing.TB, address string) *net.TCPConn {
	tb.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited for %s", what)
		}
	}
}

// receive waits for a value, but not for ever.
func receive[T any](tb testing.TB, c <-chan T) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		tb.Fatal("nothing came")
	}
	return v
}
