package hostnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How soon a change of /etc/resolv.conf is answered: at once when it is the first
// for long, later and later while it goes on, as when two programs each want their
// own there.
const (
	resolvSettle = 100 * time.Millisecond // a file is seldom written in one step
	resolvSlowly = time.Minute
	resolvQuiet  = 10 * time.Second // after which a change is the first again
)

// WatchDNS calls changed each time that somebody has written /etc/resolv.conf, us
// included, until ctx ends.
func WatchDNS(ctx context.Context, changed func()) error {
	return watchFile(ctx, resolvPath, changed)
}

func watchFile(ctx context.Context, path string, changed func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	events, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- tellWrites(file, filepath.Base(path), events) }()
	defer func() { file.Close(); <-ended }()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_DELETE); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	wait, last := resolvSettle, time.Time{}
	for {
		// A mount point is written where it comes from, of which its folder here
		// does not tell.
		_, _ = unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE)
		select {
		case <-events:
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("watch %s: %w", path, err)
		case <-ctx.Done():
			return nil
		}
		if time.Since(last) > resolvQuiet+wait {
			wait = resolvSettle
		} else {
			wait = min(2*wait, resolvSlowly)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-events: // of the same change
		default:
		}
		changed()
		last = time.Now()
	}
}

// tellWrites tells of events of the file name until inotify's is closed.
func tellWrites(inotify *os.File, name string, events chan<- struct{}) error {
	buf := make([]byte, 4096)
	for {
		n, err := inotify.Read(buf)
		if err != nil {
			return err
		}
		if !concerns(buf[:n], name) {
			continue
		}
		select {
		case events <- struct{}{}:
		default: // of the last one nobody has heard yet
		}
	}
}

// concerns reports whether one of the events, struct inotify_event of inotify(7), is
// about the file name of a folder or about a file that is watched itself, which has
// no name.
func concerns(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(events[12:]))
		rest := events[unix.SizeofInotifyEvent:]
		if length > len(rest) {
			return true
		}
		if about, _, _ := strings.Cut(string(rest[:length]), "\x00"); about == "" || about == name {
			return true
		}
		events = rest[length:]
	}
	return false
}
