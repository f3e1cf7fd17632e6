package hostnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// WatchDNS calls changed each time that somebody has written /etc/resolv.conf, or
// another file beside it, until ctx ends. We are somebody, too.
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
	go func() { ended <- tellWrites(file, events) }()
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

// tellWrites tells of events until the file is closed.
func tellWrites(file *os.File, events chan<- struct{}) error {
	buf := make([]byte, 4096)
	for {
		if _, err := file.Read(buf); err != nil {
			return err
		}
		select {
		case events <- struct{}{}:
		default: // of the last one nobody has heard yet
		}
	}
}
