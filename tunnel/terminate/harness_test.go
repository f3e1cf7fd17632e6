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
// Only the test's goroutine is in the namespace, and those of enter: only they
// may make sockets.
type host struct {
	*Terminator
	dev     *tun.Device
	config  Config
	ns      *os.File
	passed  atomic.Int64 // packets that were not captured
	refused atomic.Int64 // packets that the TUN did not take
	supers  atomic.Int64 // super-packets that were read
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
	h := &host{dev: dev, ns: namespace(tb)}
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
	h.config = c
	h.start(tb)
	return h
}

// namespace opens the network namespace of the calling thread.
func namespace(tb testing.TB) *os.File {
	tb.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// enter calls f in a goroutine in the host's namespace.
func (h *host) enter(tb testing.TB, f func()) (done <-chan struct{}) {
	c := make(chan struct{})
	go func() {
		defer close(c)
		runtime.LockOSThread() // for good: the thread ends with f
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			tb.Error(err)
			return
		}
		f()
	}()
	return c
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
		if err := addAddress(link, a); err != nil {
			tb.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		tb.Fatal(err)
	}
	// Until a kernel worker has made this route, what comes for the address
	// is lost, and waits for a repetition.
	own := &netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	eventually(tb, "a route to the IPv6 address", func() bool {
		const filter = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE | netlink.RT_FILTER_OIF
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, own, filter)
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.Equal(net.ParseIP("fd77::2")) {
				return true
			}
		}
		return false
	})
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

func addAddress(link netlink.Link, a string) error {
	addr, err := netlink.ParseAddr(a)
	if err != nil {
		return err
	}
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD // or it could not be dialled from at once
	}
	return netlink.AddrAdd(link, addr)
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
				if buf[off+1] != 0 {
					h.supers.Add(1)
				}
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
