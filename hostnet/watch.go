package hostnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// settle is how long nothing must happen before something new is
	// reported: an interface comes up in stages (link, address, route, IPv6
	// after its address check), and each report costs the caller a round of
	// changes.
	settle = 200 * time.Millisecond
	// settleMax ends the waiting where something happens all the time.
	settleMax = time.Second
	// breath is the least time between two looks at the host, so that a storm
	// of events does not keep a processor busy.
	breath = 20 * time.Millisecond
	// resync is the time after which the host is looked at without an event.
	// The kernel says nothing of some changes: IPv4 routes that vanish along
	// with an address, for one.
	resync = time.Minute
	// retry is the time after which a failed look is repeated.
	retry = time.Second
)

// Watch reports the uplinks of the calling thread's network namespace: those
// there are, at once, and then each change of them. What is lost (an uplink,
// an address, a gateway) is reported at once; what is new, when it has
// settled. allow says of an interface's name whether it may be an uplink; nil
// allows all. The TUN itself must not be allowed.
//
// report is called from Watch, never twice at a time; what happens while it
// runs is reported afterwards. Watch returns nil when ctx ends, and has then
// ended all its goroutines.
func Watch(ctx context.Context, allow func(name string) bool, report func([]Uplink)) error {
	k, err := OpenHost()
	if err != nil {
		return fmt.Errorf("watch uplinks: %w", err)
	}
	defer k.Close()
	return k.Watch(ctx, allow, report)
}

// Watch is like the function Watch, in the namespace of k, which must not be
// used for anything else meanwhile.
func (k *Kernel) Watch(ctx context.Context, allow func(name string) bool, report func([]Uplink)) error {
	var events *netlink.Conn
	err := k.ns.do(func() (err error) {
		events, err = subscribe()
		return err
	})
	if err != nil {
		return fmt.Errorf("watch uplinks: %w", err)
	}
	signal := make(chan struct{}, 1)
	var failed error
	go func() {
		failed = readEvents(events, aboutUplinks, signal)
		close(signal)
	}()
	err = follow(ctx, signal, k.inventory, allow, report)
	events.Close()
	for range signal {
	}
	if err == nil && ctx.Err() == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("watch uplinks: %w", err)
	}
	return nil
}

// subscribe opens a socket on which the kernel tells of changes.
func subscribe() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	for _, group := range []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		if err := c.JoinGroup(group); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// readEvents signals each message that matters, until c is closed.
func readEvents(c *netlink.Conn, matters func(netlink.Message) bool, signal chan<- struct{}) error {
	for {
		messages, err := c.Receive()
		// Without room for an event the kernel says just that: look anew.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		if err != nil || slices.ContainsFunc(messages, matters) {
			select {
			case signal <- struct{}{}:
			default: // one is waiting already
			}
		}
	}
}

// aboutUplinks is false of events about routes outside of main, such as our
// own.
func aboutUplinks(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		const table = 4 // offset in struct rtmsg
		return len(m.Data) > table && m.Data[table] == tableMain
	}
	return true
}

// follow reports the uplinks that look finds, first and whenever a signal
// says that they may have changed. It returns when ctx ends, when signal is
// closed, or when the first look fails.
func follow(ctx context.Context, signal <-chan struct{}, look func() (inventory, error),
	allow func(string) bool, report func([]Uplink)) error {
	inv, err := look()
	if err != nil {
		return err
	}
	last := findUplinks(inv, allow)
	report(last)

	var unsettled time.Time // since when something may be new; zero: nothing is
	again := time.NewTimer(resync)
	defer again.Stop()
	for {
		var settled bool
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-signal:
			if !ok {
				return nil
			}
			if unsettled.IsZero() {
				unsettled = time.Now()
			}
			again.Reset(settle)
			settled = time.Since(unsettled) >= settleMax
		case <-again.C:
			settled = true
		}
		if settled {
			unsettled = time.Time{}
			again.Reset(resync)
		}
		inv, err := look()
		if err != nil {
			again.Reset(retry)
			continue
		}
		now := findUplinks(inv, allow)
		if !slices.EqualFunc(now, last, Uplink.equal) && (settled || hasLost(last, now)) {
			last = now
			report(slices.Clone(now))
		}
		if !unsettled.IsZero() {
			select {
			case <-ctx.Done():
			case <-time.After(breath):
			}
		}
	}
}
