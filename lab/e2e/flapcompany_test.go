package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/lab/probe"
)

// thinResult is how a connection as of ssh was.
type thinResult struct {
	pings    int
	rtts     []time.Duration
	longest  time.Duration // silence
	p50, p99 time.Duration
}

func (r thinResult) String() string {
	return fmt.Sprintf("%d pings, p50 %v, p99 %v, longest silence %v", r.pings,
		r.p50.Round(time.Millisecond), r.p99.Round(time.Millisecond), r.longest.Round(time.Millisecond))
}

const (
	thinEvery = 100 * time.Millisecond
	thinBytes = 48 // about a keystroke of ssh
)

// thinPings has an echo answer a few bytes, again and again, until told to stop.
// Each must come back as it was sent.
func thinPings(w *world, to netip.AddrPort, stop <-chan struct{}) (r thinResult, err error) {
	conn, err := w.Net.Client.DialContext(w.ctx, "tcp", to.String())
	if err != nil {
		return r, err
	}
	defer conn.Close()
	return pings(conn, 2*patience, stop)
}

// pings waits for each answer so long.
func pings(conn net.Conn, wait time.Duration, stop <-chan struct{}) (r thinResult, err error) {
	began := time.Now()
	gaps := probe.NewGaps(began)
	defer func() {
		r.longest = gaps.Longest(began, time.Now())
		if slices.Sort(r.rtts); len(r.rtts) > 0 {
			r.p50, r.p99 = r.rtts[len(r.rtts)/2], r.rtts[len(r.rtts)*99/100]
		}
	}()
	got := make([]byte, thinBytes)
	for ; ; r.pings++ {
		select {
		case <-stop:
			return r, nil
		case <-time.After(thinEvery):
		}
		sent := fmt.Appendf(nil, "%0*d", thinBytes, r.pings)
		at := time.Now()
		if err := conn.SetDeadline(at.Add(wait)); err != nil {
			return r, err
		}
		if _, err := conn.Write(sent); err != nil {
			return r, fmt.Errorf("ping %d: %w", r.pings+1, err)
		}
		if _, err := io.ReadFull(conn, got); err != nil {
			return r, fmt.Errorf("answer %d: %w", r.pings+1, err)
		}
		if !bytes.Equal(got, sent) {
			return r, fmt.Errorf("answer %d is not what was sent", r.pings+1)
		}
		now := time.Now()
		gaps.Arrived(now)
		r.rtts = append(r.rtts, now.Sub(at))
	}
}

const (
	// otherPort is where the other program's server listens.
	otherPort = 9000
	// otherPatience is what the kernel's doubled timers can take after several
	// black holes.
	otherPatience = 3 * time.Minute
)

// other is a program beside braid that speaks MPTCP by itself, from the client's
// host to the server's, with the kernel's path manager.
type other struct {
	w        *world
	listener net.Listener
	was      string // its subflows and the path manager's settings
	stop     func()
	ended    chan error
	result   thinResult // once it has ended
}

// startOther begins a thin conversation over two uplinks.
func (w *world) startOther(first, second string) *other {
	w.Helper()
	w.must(w.Net.AddSourceRules())
	w.run(w.Net.Server, "ip", "mptcp", "limits", "set", "subflow", "8", "add_addr_accepted", "0")
	w.run(w.Net.Client, "ip", "mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "0")
	w.run(w.Net.Client, "ip", "mptcp", "endpoint", "add", w.Net.ClientAddr4(second).String(), "dev", second, "subflow")
	stop := make(chan struct{})
	o := &other{w: w, stop: sync.OnceFunc(func() { close(stop) }), ended: make(chan error, 1)}
	w.Cleanup(o.stop)
	at := netip.AddrPortFrom(w.Net.ServerAddr4, otherPort)
	w.must(w.Net.Server.Do(func() (err error) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(true)
		o.listener, err = lc.Listen(w.ctx, "tcp", at.String())
		return err
	}))
	go func() {
		for {
			c, err := o.listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c) // the client sees when it fails
				c.Close()
			}()
		}
	}()
	w.Cleanup(func() { o.listener.Close() })
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.Net.ClientAddr4(first), 0))}
	d.SetMultipathTCP(true)
	conn, err := w.Net.Client.DialWith(w.patient(), &d, "tcp", at.String())
	w.must(err)
	if ok, err := conn.(*net.TCPConn).MultipathTCP(); err != nil || !ok {
		conn.Close()
		w.Fatalf("the other program's connection is not MPTCP (%v)", err)
	}
	go func() {
		defer conn.Close()
		var err error
		o.result, err = pings(conn, otherPatience, stop)
		o.ended <- err
	}()
	for until := time.Now().Add(patience); len(o.subflows()) != 2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			w.Fatalf("the other program's connection has subflows %q", o.subflows())
		}
	}
	o.was = o.look()
	return o
}

// subflows lists the addresses of its established subflows.
func (o *other) subflows() []string {
	o.w.Helper()
	var list []string
	out := o.w.run(o.w.Net.Client, "ss", "-Htn", "state", "established", "dport", "=", fmt.Sprintf(":%d", otherPort))
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 4 {
			list = append(list, f[2]+" "+f[3])
		}
	}
	slices.Sort(list)
	return list
}

// look is all that braid could have changed of it.
func (o *other) look() string {
	o.w.Helper()
	return strings.Join(o.subflows(), "\n") + "\n" +
		o.w.run(o.w.Net.Client, "ip", "mptcp", "limits") + o.w.run(o.w.Net.Client, "ip", "mptcp", "endpoint")
}

// check fails unless it is as in the beginning.
func (o *other) check(when string) {
	o.w.Helper()
	select {
	case err := <-o.ended:
		o.w.Fatalf("the other program's connection ended: %v", cmp.Or(err, io.EOF))
	default:
	}
	if now := o.look(); now != o.was {
		o.w.Errorf("%s the other program's connection is not as it was:\n%s", when, difference(o.was, now))
	}
}

// finish checks it for the last time, and that it brought every answer.
func (o *other) finish() {
	o.w.Helper()
	o.check("after all")
	o.stop()
	select {
	case err := <-o.ended:
		o.w.must(err)
	case <-time.After(otherPatience):
		o.w.Fatal("the other program's connection stands")
	}
	o.w.Logf("the other program: %v", o.result)
}
