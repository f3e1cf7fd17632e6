package lab

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"braid/lab/emulator"

	"golang.org/x/sys/unix"
)

// Way is one of the two directions of a link.
type Way int

// The ends are in the order in which Lab.Link got them.
const (
	AToB Way = iota
	BToA
)

// LinkConfig describes an emulated link.
type LinkConfig struct {
	AToB, BToA emulator.Shape
	MTU        int    // bytes, at both ends; 0 is 1500
	Seed       uint64 // of the losses and the jitter
}

// Link is an emulated link between two hosts: a TAP device in each, and the
// emulator between them. Methods are safe for concurrent use.
type Link struct {
	lab  *Lab
	ends [2]end
	port [2]*port // used on the pump's thread only; port[i] reads end i

	mu      sync.Mutex // guards removed
	removed bool
}

type end struct {
	host *Host
	name string
	mac  net.HardwareAddr
	fd   int
}

// Link creates an emulated link: a TAP device with the given interface name in
// each of two hosts, both up, without addresses. It lives until Remove or until
// the lab is closed.
func (l *Lab) Link(a *Host, aInterface string, b *Host, bInterface string, config LinkConfig) (*Link, error) {
	link, err := l.newLink(a, aInterface, b, bInterface, config)
	if err != nil {
		return nil, fmt.Errorf("create link %s in %s to %s in %s: %w", aInterface, a.name, bInterface, b.name, err)
	}
	return link, nil
}

func (l *Lab) newLink(a *Host, aInterface string, b *Host, bInterface string, config LinkConfig) (*Link, error) {
	if config.MTU == 0 {
		config.MTU = 1500
	}
	// The two directions must not draw the same losses.
	out, err := emulator.New(config.AToB, config.Seed*2)
	if err != nil {
		return nil, err
	}
	back, err := emulator.New(config.BToA, config.Seed*2+1)
	if err != nil {
		return nil, err
	}
	link := &Link{lab: l, ends: [2]end{
		{a, aInterface, tapMAC(a.name, aInterface), -1},
		{b, bInterface, tapMAC(b.name, bInterface), -1},
	}}
	for i := range link.ends {
		e := &link.ends[i]
		if e.fd, err = openTAP(e.host, e.name, config.MTU, e.mac); err != nil {
			link.closeTAPs()
			return nil, err
		}
	}
	link.port[0] = &port{fd: link.ends[0].fd, out: out}
	link.port[1] = &port{fd: link.ends[1].fd, out: back, to: link.port[0]}
	link.port[0].to = link.port[1]

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		err = errClosed
	} else {
		err = l.pump.do(func() { l.pump.add(link.port[0], link.port[1]) })
	}
	if err != nil {
		link.closeTAPs()
		return nil, err
	}
	l.links[link] = struct{}{}
	return link, nil
}

// MAC returns the hardware addresses of both ends. They depend only on host and
// interface names.
func (l *Link) MAC() (a, b net.HardwareAddr) { return l.ends[0].mac, l.ends[1].mac }

// Shape returns the present shape of a direction.
func (l *Link) Shape(w Way) (s emulator.Shape, err error) {
	err = l.do("read shape", func(time.Duration) error { s = l.port[w].out.Shape(); return nil })
	return s, err
}

// SetShape changes a direction at once, for frames already inside too, as
// emulator.Direction.SetShape says.
func (l *Link) SetShape(w Way, s emulator.Shape) error {
	return l.do("set shape", func(now time.Duration) error { return l.port[w].out.SetShape(now, s) })
}

// SetBlackHole makes both directions swallow everything silently, or work
// again. Their other properties stay.
func (l *Link) SetBlackHole(on bool) error {
	return l.change("set black hole", func(s *emulator.Shape) { s.BlackHole = on })
}

// SetStripMPTCP makes both directions take Multipath TCP's options out of all
// segments, or leave them again. Their other properties stay.
func (l *Link) SetStripMPTCP(on bool) error {
	return l.change("strip MPTCP", func(s *emulator.Shape) { s.StripMPTCP = on })
}

// change changes a property of both directions.
func (l *Link) change(what string, set func(*emulator.Shape)) error {
	return l.do(what, func(now time.Duration) error {
		for _, p := range l.port {
			s := p.out.Shape()
			set(&s)
			if err := p.out.SetShape(now, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetCarrier pulls the cable at both ends (false) or plugs it in again: the
// interfaces lose their carrier, and what was on the way is gone.
func (l *Link) SetCarrier(on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.doLocked("set carrier", func(time.Duration) error {
		for _, p := range l.port {
			p.out.SetDown(!on)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Not on the pump's thread: it waits for the kernel's lock of all interfaces
	// of all namespaces.
	return each(l.ends[:], func(e end) error {
		if err := setTAPCarrier(e.fd, on); err != nil {
			return fmt.Errorf("%s in %s: %w", e.name, e.host.name, err)
		}
		return nil
	})
}

// Counters returns the counters of a direction.
func (l *Link) Counters(w Way) (c emulator.Counters, err error) {
	err = l.do("read counters", func(now time.Duration) error { c = l.port[w].out.Counters(now); return nil })
	return c, err
}

// Remove takes the link away: its interfaces disappear in both hosts. Removing
// it again does nothing; a new one with the same names can then be created.
func (l *Link) Remove() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed {
		return nil
	}
	l.removed = true
	err := l.lab.pump.do(func() { l.lab.pump.remove(l.port[0], l.port[1]) })
	// Closing takes the kernel some milliseconds: not on the pump's thread.
	err = errors.Join(err, l.closeTAPs())
	l.lab.mu.Lock()
	delete(l.lab.links, l)
	l.lab.mu.Unlock()
	if err != nil {
		return fmt.Errorf("remove link %v: %w", l, err)
	}
	return nil
}

// String names the link by its ends.
func (l *Link) String() string {
	return fmt.Sprintf("%s/%s–%s/%s", l.ends[0].host.name, l.ends[0].name, l.ends[1].host.name, l.ends[1].name)
}

func (l *Link) closeTAPs() error {
	return each(l.ends[:], func(e end) error {
		if e.fd < 0 {
			return nil
		}
		if err := unix.Close(e.fd); err != nil {
			return fmt.Errorf("close tap %s in %s: %w", e.name, e.host.name, err)
		}
		return nil
	})
}

// do runs a function on the pump's thread with the present time.
func (l *Link) do(what string, run func(now time.Duration) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doLocked(what, run)
}

func (l *Link) doLocked(what string, run func(now time.Duration) error) error {
	err := errors.New("it has been removed")
	if !l.removed {
		var failed error
		err = l.lab.pump.do(func() { failed = run(l.lab.pump.now()) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		return fmt.Errorf("%s of link %v: %w", what, l, err)
	}
	return nil
}
