package lab

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"braid/lab/emulator"

	"golang.org/x/sys/unix"
)

// pump moves the frames of all links of a lab, in one thread:
//
//  1. ppoll sleeps until a TAP has frames, the first frame inside is due, or
//     another goroutine has a command.
//  2. Frames are read until there are no more, and pushed into the emulator's
//     Direction of that TAP.
//  3. Frames that are due are popped and written to the opposite TAP. The
//     write carries the frame through the receiving host's stack, so that work
//     is done by this thread too.
//
// All state belongs to that thread: others send it functions with do. It sleeps
// in the kernel with nanosecond timeouts, because Go's timers are a millisecond
// coarse, and never spins. Realtime priority, where allowed, lets it wake up in
// time on a busy machine. One thread serves better than one per link: fewer
// wake-ups, and one core carries several hundred Mb/s.
type pump struct {
	epoch   time.Time // time zero of the directions
	command int       // eventfd: there are commands

	ports   []*port
	polled  []unix.PollFd // [0] is command, [1+i] is ports[i]
	free    buffers
	scratch [largestFrame]byte
	timeout unix.Timespec
	times   Timing
	ended   bool

	mu       sync.Mutex // guards the rest
	commands []func()
	stopped  bool
	done     chan struct{}
}

// port is one TAP: what is read from it goes through a direction to another.
type port struct {
	fd  int
	out *emulator.Direction
	to  *port
}

// Timing says how well the emulator keeps time. A measurement is only as good:
// lateness adds to delays, though never to rates.
type Timing struct {
	Wakeups   uint64        // by the clock, for a frame that was due
	MeanLate  time.Duration // of those wake-ups, behind their time; 0.1 ms is intended
	WorstLate time.Duration
	CPU       time.Duration // used by the emulator, the receiving hosts' stacks included
	Realtime  bool          // whether it runs with realtime priority

	lateSum time.Duration
}

// slack is how much longer than needed the pump sleeps, so that one wake-up moves
// several frames of a fast link: at 100 Mb/s it saves a third of the CPU. It
// adds as much to delays, and nothing to rates.
const slack = 100 * time.Microsecond

// batch is how many frames are read from one TAP before looking at the others:
// about 0.1 ms of work, which bounds what one link can delay another.
const batch = 64

func newPump() (*pump, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &pump{epoch: time.Now(), command: fd, done: make(chan struct{})}
	p.pollWhat()
	addProcessors(1)
	startThread(p.run)
	return p, nil
}

// processorsMu guards the process-wide number of Go's processors.
var processorsMu sync.Mutex

// addProcessors changes GOMAXPROCS. A thread that comes back from a system call
// needs one of Go's processors to go on; if all are taken by busy goroutines it
// waits for up to 10 ms. One more than there would be makes sure that the pump
// finds one, and leaves the choice of who runs to the kernel.
func addProcessors(n int) {
	processorsMu.Lock()
	defer processorsMu.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

func (p *pump) run() {
	defer close(p.done)
	p.times.Realtime = hurry()
	for !p.ended {
		next, waiting := p.next()
		p.sleep(next, waiting)
		if now := p.now(); waiting && now >= next {
			late := now - next
			p.times.Wakeups++
			p.times.lateSum += late
			p.times.WorstLate = max(p.times.WorstLate, late)
		}
		for i := range p.ports {
			if p.polled[1+i].Revents != 0 {
				p.read(i)
			}
		}
		p.deliver()
		if p.polled[0].Revents != 0 {
			p.obey() // last: it changes ports and polled
			p.deliver()
		}
	}
}

// hurry makes the kernel wake this thread on time; it reports whether realtime
// priority was granted.
func hurry() bool {
	// Without it the kernel may add 50 µs to every sleep. It cannot fail.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return unix.SchedSetAttr(0, &unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK, // for us alone
		Priority: 1,                             // enough to precede all ordinary work
	}, 0) == nil
}

func (p *pump) now() time.Duration { return time.Since(p.epoch) }

// next returns when the first frame is due.
func (p *pump) next() (at time.Duration, ok bool) {
	for _, port := range p.ports {
		if t, any := port.out.Next(); any && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

func (p *pump) sleep(until time.Duration, limited bool) {
	var timeout *unix.Timespec
	if limited {
		p.timeout = unix.NsecToTimespec(int64(max(until-p.now()+slack, 0)))
		timeout = &p.timeout
	}
	if _, err := unix.Ppoll(p.polled, timeout, nil); err != nil {
		for i := range p.polled { // EINTR: look again
			p.polled[i].Revents = 0
		}
	}
}

// read takes the frames that wait at a port.
func (p *pump) read(i int) {
	port := p.ports[i]
	for range batch {
		n, err := unix.Read(port.fd, p.scratch[:])
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
			continue
		case err != nil:
			// Somebody has deleted the interface: stop polling, or we would spin.
			p.polled[1+i].Fd = -1
			return
		}
		frame := p.free.copyOf(p.scratch[:n])
		if !port.out.Push(p.now(), frame) {
			p.free.put(frame)
		}
	}
}

// deliver writes all frames that are due.
func (p *pump) deliver() {
	for _, port := range p.ports {
		now := p.now()
		for {
			frame, arrived, ok := port.out.Pop(now)
			if !ok {
				break
			}
			if arrived {
				// It fails when the receiving interface is down or gone, and
				// then the frame is lost, as it would be on a cable.
				_, _ = unix.Write(port.to.fd, frame)
			}
			p.free.put(frame)
		}
	}
}

// obey runs the commands of other goroutines.
func (p *pump) obey() {
	var count [8]byte
	_, _ = unix.Read(p.command, count[:]) // resets it
	p.mu.Lock()
	commands := p.commands
	p.commands = nil
	p.mu.Unlock()
	for _, c := range commands {
		c()
	}
}

// do runs a function on the pump's thread and waits for its end.
func (p *pump) do(run func()) error {
	finished := make(chan struct{})
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return errClosed
	}
	p.postLocked(func() { run(); close(finished) })
	p.mu.Unlock()
	<-finished
	return nil
}

func (p *pump) postLocked(run func()) {
	p.commands = append(p.commands, run)
	// It fails only on a counter near 2⁶⁴.
	_, _ = unix.Write(p.command, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// stop ends the thread and waits for it. The links must have been removed.
func (p *pump) stop() {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return
	}
	p.stopped = true
	p.postLocked(func() { p.ended = true })
	p.mu.Unlock()
	<-p.done
	unix.Close(p.command)
	addProcessors(-1)
}

// add takes two connected ports in; it runs on the pump's thread.
func (p *pump) add(a, b *port) {
	p.ports = append(p.ports, a, b)
	p.pollWhat()
}

// remove lets go of two ports and what is inside; it runs on the pump's thread.
func (p *pump) remove(a, b *port) {
	kept := make([]*port, 0, len(p.ports))
	for _, port := range p.ports {
		if port != a && port != b {
			kept = append(kept, port)
			continue
		}
		for frame, ok := port.out.Drain(); ok; frame, ok = port.out.Drain() {
			p.free.put(frame)
		}
	}
	p.ports = kept
	p.pollWhat()
}

func (p *pump) pollWhat() {
	p.polled = append(p.polled[:0], unix.PollFd{Fd: int32(p.command), Events: unix.POLLIN})
	for _, port := range p.ports {
		p.polled = append(p.polled, unix.PollFd{Fd: int32(port.fd), Events: unix.POLLIN})
	}
}

func (p *pump) timing() (t Timing, err error) {
	err = p.do(func() {
		t = p.times
		var usage unix.Rusage
		if unix.Getrusage(unix.RUSAGE_THREAD, &usage) == nil {
			t.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	})
	if err != nil {
		return Timing{}, fmt.Errorf("read timing: %w", err)
	}
	if t.Wakeups > 0 {
		t.MeanLate = t.lateSum / time.Duration(t.Wakeups)
	}
	return t, nil
}
