package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a network namespace. It has a thread that stays in the namespace for
// life, runs what Do is given and is the parent of the host's processes, which
// the kernel kills when that thread ends. Methods are safe for concurrent use.
type Host struct {
	name   string
	tid    int // of the host's thread
	fd     int // the namespace
	keeper *keeper

	calls chan call
	quit  chan struct{} // closed to end the thread
	done  chan struct{} // closed when the thread is about to end

	nlMu sync.RWMutex // guards nl; read-locked while nl is in use
	nl   *netlink.Handle

	mu        sync.Mutex // guards the rest
	processes map[*Process]struct{}
	closed    bool
}

// call is one function for the host's thread. The reply never blocks.
type call struct {
	run   func() error
	reply chan error
}

// errUnfinished is the answer of Do when its function ended the goroutine.
var errUnfinished = errors.New("the function ended its goroutine (t.Fatal does), and with it the host")

func newHost(name string) (*Host, error) {
	h := &Host{
		name:      name,
		fd:        -1,
		calls:     make(chan call),
		quit:      make(chan struct{}),
		done:      make(chan struct{}),
		processes: make(map[*Process]struct{}),
	}
	ready := make(chan error, 1)
	startThread(func() {
		defer close(h.done)
		err := h.enter()
		ready <- err
		if err == nil {
			h.serve()
		}
	})
	if err := <-ready; err != nil {
		return nil, errors.Join(err, h.close())
	}
	if err := h.prepare(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// enter makes the namespace; it runs on the host's thread.
func (h *Host) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("create network namespace: %w", err)
	}
	h.tid = unix.Gettid()
	var err error
	if h.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	return nil
}

// prepare gives the namespace what every host has.
func (h *Host) prepare() error {
	if err := h.Do(func() (err error) { h.keeper, err = startKeeper(); return err }); err != nil {
		return err
	}
	for _, s := range [][2]string{
		// Addresses are usable at once, and no address appears by itself.
		{"net.ipv6.conf.all.accept_dad", "0"},
		{"net.ipv6.conf.default.accept_dad", "0"},
		{"net.ipv6.conf.all.accept_ra", "0"},
		{"net.ipv6.conf.default.accept_ra", "0"},
	} {
		if err := h.setSysctl6(s[0], s[1]); err != nil {
			return err
		}
	}
	// IPv4 settings of a new namespace are copies of the machine's.
	if err := h.SetForwarding(false); err != nil {
		return err
	}
	if err := h.SetReversePathFilter(Loose); err != nil {
		return err
	}
	return h.SetUp("lo")
}

// serve runs the calls; it returns when the host is closed.
func (h *Host) serve() {
	for {
		select {
		case c := <-h.calls:
			c.serve()
		case <-h.quit:
			return
		}
	}
}

func (c call) serve() {
	err := errUnfinished // in case run calls runtime.Goexit
	defer func() { c.reply <- err }()
	err = c.run()
}

// Name returns the name given to the host.
func (h *Host) Name() string { return h.name }

// Do runs a function on the host's thread and returns its error. Sockets,
// netlink handles and processes made by it belong to the host's namespace, and
// /proc/sys/net shows the host's (sysfs does not). Functions run one at a time:
// keep them short, and start no goroutine that is to be in the namespace. The
// function may call the host's methods. It must not end its goroutine, as t.Fatal does.
func (h *Host) Do(run func() error) error {
	select {
	case <-h.done:
		return fmt.Errorf("run in host %s: %w", h.name, errClosed)
	default:
	}
	if unix.Gettid() == h.tid {
		return run() // nobody but the host's goroutine runs on its thread
	}
	c := call{run, make(chan error, 1)}
	select {
	case h.calls <- c:
	case <-h.done:
		return fmt.Errorf("run in host %s: %w", h.name, errClosed)
	}
	return <-c.reply
}

// visit runs a function on a thread of its own in the host's namespace, for
// what may take long.
func (h *Host) visit(run func()) error {
	select {
	case <-h.done: // the descriptor may be another file's by now
		return fmt.Errorf("run in host %s: %w", h.name, errClosed)
	default:
	}
	reply := make(chan error, 1)
	startThread(func() {
		err := errUnfinished
		defer func() { reply <- err }()
		if failed := unix.Setns(h.fd, unix.CLONE_NEWNET); failed != nil {
			err = fmt.Errorf("enter host %s: %w", h.name, failed)
			return
		}
		run()
		err = nil
	})
	return <-reply
}

// NetNSFd returns the descriptor of the namespace. It stays the host's: do not
// close it, nor use it after the lab is closed.
func (h *Host) NetNSFd() int { return h.fd }

// NetNSPath returns a path to the namespace for the life of the host, as
// nsenter --net=PATH takes it.
func (h *Host) NetNSPath() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.fd) }

// Netlink runs a function with an rtnetlink handle of the host, which the
// function must not keep: once closed, a handle works on the caller's own
// namespace, which is the machine's. It has no sockets but rtnetlink.
func (h *Host) Netlink(use func(*netlink.Handle) error) error {
	h.nlMu.RLock()
	defer h.nlMu.RUnlock()
	if h.nl == nil {
		return fmt.Errorf("configure host %s: %w", h.name, errClosed)
	}
	return use(h.nl)
}

// close ends everything in the host and waits for it.
func (h *Host) close() error {
	h.killAll()
	var err error
	if h.keeper != nil {
		err = h.keeper.sweep()
	}
	h.nlMu.Lock()
	if h.nl != nil {
		h.nl.Close()
		h.nl = nil
	}
	h.nlMu.Unlock()
	close(h.quit)
	<-h.done
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
	if err != nil {
		return fmt.Errorf("close host %s: %w", h.name, err)
	}
	return nil
}
