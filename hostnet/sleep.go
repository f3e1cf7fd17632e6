package hostnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sleptFor is how long a suspension must be to be one: the two clocks are not
// read at the same moment.
const sleptFor = time.Second

// WatchSleep calls report each time that the host has slept (suspend to memory or
// to disk), with how long, at the moment that it wakes: timers go on from where
// they stood, and would tell only in their time. It needs no rights. It returns
// nil when ctx ends, and report is not called after that.
func WatchSleep(ctx context.Context, report func(slept time.Duration)) error {
	f, err := clockTimer()
	if err != nil {
		return fmt.Errorf("watch for sleep: %w", err)
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	err = followSleep(func() error { return clockSet(f) }, suspended, func(slept time.Duration) {
		if ctx.Err() == nil {
			report(slept)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch for sleep: %w", err)
}

// followSleep reports by how much total has grown each time that wait returns,
// until wait fails.
func followSleep(wait func() error, total func() (time.Duration, error), report func(slept time.Duration)) error {
	before, err := total()
	if err != nil {
		return err
	}
	for {
		if err := wait(); err != nil {
			return err
		}
		now, err := total()
		if err != nil {
			return err
		}
		// The clock may have been set: that is no sleep.
		if slept := now - before; slept >= sleptFor {
			report(slept)
		}
		before = now
	}
}

// suspended is how long the host has slept since it booted: the one clock counts
// that, the other does not (clock_gettime(2)).
func suspended() (time.Duration, error) {
	var boot, awake unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake)); err != nil {
		return 0, fmt.Errorf("read clocks: %w", err)
	}
	return time.Duration(boot.Nano() - awake.Nano()), nil
}

// clockTimer makes a timer that never ends, but is cancelled when the wall clock
// leaps (TFD_TIMER_CANCEL_ON_SET, timerfd_create(2)). The kernel sets that clock
// when it wakes.
func clockTimer() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make timer: %w", err)
	}
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt32}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set timer: %w", err)
	}
	return os.NewFile(uintptr(fd), "timerfd"), nil
}

// clockSet waits until the wall clock leaps.
func clockSet(f *os.File) error {
	var ticks [8]byte
	if _, err := f.Read(ticks[:]); err != nil && !errors.Is(err, unix.ECANCELED) {
		return err
	}
	return nil
}
