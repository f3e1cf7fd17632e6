package terminate

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lan makes a host behind this one, and calls f in its namespace:
//
//	host ─ lan0 192.168.9.1, fd09::1 ─ 192.168.9.2, fd09::2 eth0 ─ f
//
// The result of f comes by the channel.
func (h *host) lan(tb testing.TB, f func() error) <-chan error {
	tb.Helper()
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		setSysctl(tb, key, "1")
	}
	// Neighbours are asked from the link-local address: it must be ready.
	setSysctl(tb, "ipv6/conf/default/accept_dad", "0")
	ready, result := make(chan bool), make(chan error, 1)
	ns := make(chan *os.File, 1)
	go func() {
		runtime.LockOSThread() // for good
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
		}
		var self *os.File
		if err == nil {
			self, err = os.Open("/proc/thread-self/ns/net")
		}
		ns <- self
		if err == nil {
			<-ready
			if err = lanRoutes(); err == nil {
				err = f()
			}
		}
		result <- err
	}()
	there := receive(tb, ns)
	if there == nil {
		tb.Fatal(receive(tb, result))
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(there.Fd())})
	if err == nil {
		err = setUp("lan0", "192.168.9.1/24", "fd09::1/64")
	}
	if err != nil {
		tb.Fatal(err)
	}
	close(ready)
	return result
}

// setSysctl writes a setting of this network namespace.
func setSysctl(tb testing.TB, key, value string) {
	tb.Helper()
	if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
		tb.Fatal(err)
	}
}

func lanRoutes() error {
	err := setUp("eth0", "192.168.9.2/24", "fd09::2/64")
	for dst, gw := range map[string]string{"0.0.0.0/0": "192.168.9.1", "::/0": "fd09::1"} {
		_, all, _ := net.ParseCIDR(dst)
		err = errors.Join(err, netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP(gw)}))
	}
	return err
}

func setUp(device string, addresses ...string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		err = errors.Join(err, addAddress(link, a))
	}
	return errors.Join(err, netlink.LinkSetUp(link))
}

// A host behind this one is served like a program.
func TestForwardedHost(t *testing.T) {
	source := make(chan net.Addr, 1)
	h := newHost(t, func(p *Pending) {
		source <- net.TCPAddrFromAddrPort(p.Source)
		serve(t, func(c *Conn) {
			io.Copy(c, c)
			c.Close()
		})(p)
	}, nil)
	if err := receive(t, h.lan(t, lanHost)); err != nil {
		t.Fatal(err)
	}
	if a := receive(t, source).(*net.TCPAddr); !a.IP.Equal(net.IPv4(192, 168, 9, 2)) {
		t.Errorf("the connection is from %v", a)
	}
	if s := h.Stats(); s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
}

// lanHost sends data to an echo and compares.
func lanHost() error {
	c, err := net.DialTimeout("tcp", dest4, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(8 * time.Second))
	data := random(2<<20, 3)
	go func() {
		c.Write(data)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(got, data) {
		err = errors.New("the echo differs")
	}
	return err
}
