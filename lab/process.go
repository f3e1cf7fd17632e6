package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a running or finished program of a host, leader of a process group
// of its own. Methods are safe for concurrent use.
type Process struct {
	host    *Host
	command *exec.Cmd
	output  *tail // nil when the caller directs the output
	done    chan struct{}
	err     error // of Wait; set before done is closed

	mu       sync.Mutex // guards the rest
	stopping bool       // kill what is left of the group when the leader ends
	reaped   bool       // the group's number may belong to others
}

// killPipesAfter bounds how long output pipes held open by grandchildren keep a
// finished process from counting as finished.
const killPipesAfter = time.Second

// Start starts a program in the host, in a process group of its own. The kernel
// kills it when this process dies; its whole group is killed when the context
// ends, and whatever is left in the namespace when the lab closes. A command
// without Stdout and Stderr has both kept for Output. The command must not have
// been started and is the Process's from here on.
func (h *Host) Start(ctx context.Context, c *exec.Cmd) (*Process, error) {
	p := &Process{host: h, command: c, done: make(chan struct{})}
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c.SysProcAttr.Setpgid = true
	if c.Stdout == nil && c.Stderr == nil {
		p.output = &tail{}
		c.Stdout, c.Stderr = p.output, p.output
	}
	if c.WaitDelay == 0 {
		c.WaitDelay = killPipesAfter
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", c.Path, h.name, err)
	}

	err := h.Do(func() error {
		// Locked on the host's thread only, never while waiting for it, so that
		// what runs on the thread may start processes too.
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.closed {
			return errClosed
		}
		if err := c.Start(); err != nil {
			return err
		}
		h.processes[p] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", c.Path, h.name, err)
	}
	release := context.AfterFunc(ctx, p.Kill)
	go p.reap(release)
	return p, nil
}

// Run runs a program in the host to its end and returns what it wrote to
// standard output and error. An error quotes the end of that.
func (h *Host) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	p, err := h.Start(ctx, exec.Command(name, args...))
	if err != nil {
		return nil, err
	}
	err = p.Wait(context.Background()) // the context kills the process
	out := p.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return out, fmt.Errorf("run %s in %s: %w: %s", name, h.name, err, quote(out))
	}
	return out, nil
}

// reap waits for the end of the process; it is the goroutine of each.
func (p *Process) reap(release func() bool) {
	// Seen, but not yet reaped, the process keeps its group's number from being
	// given to another.
	for unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.mu.Lock()
	if p.stopping {
		unix.Kill(-p.PID(), unix.SIGKILL)
	}
	p.reaped = true
	p.mu.Unlock()
	p.err = p.command.Wait()
	release()
	p.host.mu.Lock()
	delete(p.host.processes, p)
	p.host.mu.Unlock()
	close(p.done)
}

// PID returns the process ID, which is also that of its group.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the process has ended and has been reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns how it ended: nil for exit
// code 0, an *exec.ExitError, or the context's error if that ends before.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s in %s: %w", p.command.Path, p.host.name, ctx.Err())
	}
}

// Signal sends a signal to the process alone; one that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	err := p.command.Process.Signal(s)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s in %s: %w", p.command.Path, p.host.name, err)
	}
	return nil
}

// Kill kills the process and its group with SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.mu.Lock()
	p.stopping = true
	if !p.reaped {
		unix.Kill(-p.PID(), unix.SIGKILL)
	}
	p.mu.Unlock()
	<-p.done
}

// Stop asks the process to end with SIGTERM, kills its group when it has ended
// or the timeout is over, and waits. It returns an error only if the process
// had to be killed; how it ended is for Wait.
func (p *Process) Stop(timeout time.Duration) error {
	p.mu.Lock()
	p.stopping = true
	if !p.reaped {
		unix.Kill(p.PID(), unix.SIGTERM)
	}
	p.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stop %s in %s: killed after %v", p.command.Path, p.host.name, timeout)
	}
}

// killAll kills all processes of the host and lets no more start.
func (h *Host) killAll() {
	h.mu.Lock()
	h.closed = true
	running := make([]*Process, 0, len(h.processes))
	for p := range h.processes {
		running = append(running, p)
	}
	h.mu.Unlock()
	each(running, func(p *Process) error { p.Kill(); return nil })
}
