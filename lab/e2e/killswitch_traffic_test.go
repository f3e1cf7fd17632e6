package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"braid/lab"
)

// Traffic that wants out without a pause: echo requests, UDP and connection
// attempts, IPv4 and IPv6, from the client and from the host behind it. Half of it
// goes as routing says, to the internet host; the other half from sockets bound to
// an uplink, as of a program that takes its own way, to an address beside it.
type users struct {
	w        *world
	stop     chan struct{}
	done     chan struct{}
	attempts atomic.Int64
}

var (
	bound4 = netip.MustParseAddr("192.0.2.3")
	bound6 = netip.MustParseAddr("2001:db8:b000::3")
)

func (w *world) startUsers() *users {
	u := &users{w: w, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(u.done)
		for {
			for _, h := range []*lab.Host{w.Net.Client, w.Net.Lan} {
				h.Do(func() error { u.round(h == w.Net.Client); return nil })
			}
			select {
			case <-u.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return u
}

func (u *users) end() {
	close(u.stop)
	<-u.done
}

// round sends one packet of each kind; whether that fails is the kernel's matter.
func (u *users) round(here bool) {
	ways := []string{""}
	if here {
		ways = append(ways, "fast1", "fast2", "new0")
	}
	for _, device := range ways {
		to4, to6 := u.w.Net.InternetAddr4, u.w.Net.InternetAddr6
		if device != "" {
			to4, to6 = bound4, bound6
		}
		for _, to := range []netip.Addr{to4, to6} {
			sendPacket(to, unix.SOCK_DGRAM, unix.IPPROTO_UDP, device)
			sendPacket(to, unix.SOCK_STREAM, unix.IPPROTO_TCP, device)
			if to.Is4() {
				sendPacket(to, unix.SOCK_RAW, unix.IPPROTO_ICMP, device)
			} else {
				sendPacket(to, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, device)
			}
			u.attempts.Add(3)
		}
	}
}

func sendPacket(to netip.Addr, kind, protocol int, device string) {
	family, port := unix.AF_INET6, 9
	if kind == unix.SOCK_RAW {
		port = 0
	}
	address := unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: to.As16()})
	if to.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: to.As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if device != "" && unix.BindToDevice(fd, device) != nil {
		return // it is not there now
	}
	switch protocol {
	case unix.IPPROTO_TCP:
		_ = unix.Connect(fd, address)
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		request := []byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1} // an echo request with its checksum
		if protocol == unix.IPPROTO_ICMPV6 {
			request[0] = 128 // and the kernel makes the checksum
		}
		_ = unix.Sendto(fd, request, 0, address)
	default:
		_ = unix.Sendto(fd, []byte("user's"), 0, address)
	}
}

// detect makes each router count what comes to it from the client's side: carriers
// and what keeps a link alive apart, everything. Of that, it counts what goes to
// the internet host by itself: it had no business outside but for want of a
// tunnel. Excluded is a network that may be asked.
func (w *world) detect(excluded netip.Prefix) {
	w.Helper()
	for name, r := range w.Net.Routers {
		w.run(r, "nft", fmt.Sprintf(`table inet detector {
	counter outside {}
	counter routed {}
	chain prerouting {
		type filter hook prerouting priority raw;
		iifname { "core", "lo" } accept
		ip daddr %v tcp dport 443 accept
		icmpv6 type 130-137 accept
		ip6 daddr ff02::/16 accept
		ip daddr { 224.0.0.0/24, %v, %v } accept
		counter name outside
		ip daddr %v counter name routed
		ip6 daddr %v counter name routed
	}
}`, w.Net.ServerAddr4, w.Net.RouterAddr4(name), excluded, w.Net.InternetAddr4, w.Net.InternetAddr6))
	}
}

var packetCount = regexp.MustCompile(`packets (\d+)`)

// leaked is what the routers have counted so far.
func (w *world) leaked() (all, routed int) {
	w.Helper()
	for _, r := range w.Net.Routers {
		for name, sum := range map[string]*int{"outside": &all, "routed": &routed} {
			m := packetCount.FindStringSubmatch(w.run(r, "nft", "list", "counter", "inet", "detector", name))
			if m == nil {
				w.Fatal("a detector is gone")
			}
			n, err := strconv.Atoi(m[1])
			w.must(err)
			*sum += n
		}
	}
	return all, routed
}

// stage is something that happens while users want out.
type stage struct {
	name string
	// routed is whether packets that follow the routes leave beside the tunnel,
	// too, when there is no kill switch.
	routed bool
	do     func()
}

// through does all stages while users want out, and returns what leaked in each.
func (w *world) through(t *testing.T, stages []stage) (all, routed map[string]int) {
	t.Helper()
	u := w.startUsers()
	defer u.end()
	all, routed = map[string]int{}, map[string]int{}
	for _, s := range stages {
		a, r := w.leaked()
		tried := u.attempts.Load()
		s.do()
		for end := time.Now().Add(patience); u.attempts.Load() < tried+2000; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: only %d attempts", s.name, u.attempts.Load()-tried)
			}
		}
		a2, r2 := w.leaked()
		all[s.name], routed[s.name] = a2-a, r2-r
		t.Logf("%-36s %6d attempts, %5d packets beside the tunnel, %5d of them routed so", s.name, u.attempts.Load()-tried, a2-a, r2-r)
	}
	return all, routed
}
