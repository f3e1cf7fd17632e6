package hostnet

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that stays open. A thread has one: sockets
// are born into it, and /proc/sys/net shows each thread its own.
type namespace struct {
	file   *os.File
	cookie uint64 // never used again while the machine runs, unlike the inode's number
}

const threadNamespace = "/proc/thread-self/ns/net"

// currentNamespace opens the calling thread's network namespace.
func currentNamespace() (*namespace, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	file, err := os.Open(threadNamespace)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	cookie, err := namespaceCookie()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("identify network namespace: %w", err)
	}
	return &namespace{file, cookie}, nil
}

func namespaceCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func (n *namespace) close() error { return n.file.Close() }

// do calls f on a thread in the namespace. That is the calling one if it is
// there already, as in any program that has a single namespace; only
// otherwise are the rights needed to change namespaces (CAP_SYS_ADMIN).
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	here, err := os.Stat(threadNamespace)
	ours, err2 := n.file.Stat()
	if err := errors.Join(err, err2); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("compare network namespaces: %w", err)
	}
	if os.SameFile(here, ours) {
		defer runtime.UnlockOSThread()
		return f()
	}
	runtime.UnlockOSThread()

	done := make(chan error, 1)
	go func() {
		// Not unlocked: the thread ends with the goroutine, and with it the
		// foreign namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- explain("enter network namespace", err)
			return
		}
		done <- f()
	}()
	return <-done
}
