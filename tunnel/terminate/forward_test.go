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

// A host behind this one, 192.168.9.2 at a veth, is served like a program.
func TestForwardedHost(t *testing.T) {
	source := make(chan net.Addr, 1)
	h := newHost(t, func(p *Pending) {
		source <- net.TCPAddrFromAddrPort(p.Source)
		serve(t, func(c *Conn) {
			io.Copy(c, c)
			c.Close()
		})(p)
	}, nil)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Skip(err)
	}
	ns, ready, result := make(chan *os.File, 1), make(chan bool), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		ns <- f
		<-ready
		result <- lanHost()
	}()
	f := receive(t, ns)
	defer f.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(f.Fd())})
	if err == nil {
		err = setUp("lan0", "192.168.9.1/24")
	}
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	if err := receive(t, result); err != nil {
		t.Fatal(err)
	}
	if a := receive(t, source).(*net.TCPAddr); !a.IP.Equal(net.IPv4(192, 168, 9, 2)) {
		t.Errorf("the connection is from %v", a)
	}
	if s := h.Stats(); s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
}

func setUp(device, address string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
}

// lanHost sends data to an echo and compares.
func lanHost() error {
	if err := setUp("eth0", "192.168.9.2/24"); err != nil {
		return err
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	if err := netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.IPv4(192, 168, 9, 1)}); err != nil {
		return err
	}
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
