// Package lab builds small networks inside one Linux host: hosts that are
// network namespaces, cables between them, and links whose rate, delay, loss
// and queue are emulated in user space, exact on any kernel with TUN/TAP.
//
// Nothing is persistent. A namespace is held by a thread and a descriptor of
// this process, an emulated link by the descriptors of its two TAP devices, and
// every process started in a host dies with this one. So a lab leaves nothing
// behind, not even after kill -9; see keeper.go for the processes that would
// get away otherwise.
//
//	Lab ─┬─ Host      a namespace with its thread; Do, Start, Run, Dial, Listen
//	     ├─ Veth      an unshaped cable between two hosts
//	     └─ Link      an emulated one: TAP ══ emulator ══ TAP
//	         └─ pump  the one thread that moves all frames of all links
//
// Package lab/emulator holds the arithmetic of a link, lab/topology the networks
// that tests, demonstration and benchmarks use. All of it needs root.
package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Lab owns hosts and links. All methods are safe for concurrent use, except
// that Close must be the last.
type Lab struct {
	name string
	pump *pump

	mu     sync.Mutex // guards the rest
	hosts  map[string]*Host
	order  []*Host // as created, to close in reverse
	links  map[*Link]struct{}
	closed bool
}

// errClosed is returned by what is used after Close.
var errClosed = errors.New("closed")

// Supported says in one error what this process lacks to run a lab, with a
// hint; nil when it lacks nothing.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root: run as root")
	}
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a lab needs TAP devices: open %s: %w (try: modprobe tun)", tunDevice, err)
	}
	unix.Close(fd)
	return nil
}

// New returns an empty lab. The name appears in errors only. The caller must
// Close it.
func New(name string) (*Lab, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	p, err := newPump()
	if err != nil {
		return nil, fmt.Errorf("start emulator of lab %s: %w", name, err)
	}
	return &Lab{
		name:  name,
		pump:  p,
		hosts: make(map[string]*Host),
		links: make(map[*Link]struct{}),
	}, nil
}

// Host creates a host with the given name, unique in the lab: a new network
// namespace with lo up, no IPv6 duplicate address detection, no router
// advertisements taken, and loose reverse path filtering as on Debian. It lives
// until the lab is closed.
func (l *Lab) Host(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("create host %s: lab %s: %w", name, l.name, errClosed)
	}
	if l.hosts[name] != nil {
		return nil, fmt.Errorf("create host %s: lab %s has one already", name, l.name)
	}
	h, err := newHost(name)
	if err != nil {
		return nil, fmt.Errorf("create host %s: %w", name, err)
	}
	l.hosts[name] = h
	l.order = append(l.order, h)
	return h, nil
}

// Timing returns how well the emulator has kept time since the lab began.
func (l *Lab) Timing() (Timing, error) { return l.pump.timing() }

// Close kills every process in the lab's hosts, removes all links and hosts,
// and waits until they are gone. Closing again does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	links := make([]*Link, 0, len(l.links))
	for link := range l.links {
		links = append(links, link)
	}
	hosts := l.order
	l.mu.Unlock()

	// Processes first: none shall see its interfaces vanish and act on it.
	each(hosts, func(h *Host) error { h.killAll(); return nil })
	errs := []error{each(links, (*Link).Remove)}
	l.pump.stop()
	errs = append(errs, each(hosts, (*Host).close))
	return errors.Join(errs...)
}

// each runs f on all items at the same time and joins the errors.
func each[T any](items []T, f func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = f(item) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
