package probe_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"braid/lab/emulator"
	"braid/lab/probe"
)

// slow takes bytes, and stands still once when told to.
type slow struct {
	taken atomic.Int64
	stand atomic.Int64 // a time.Duration, for the next write
	fail  atomic.Bool
}

var errBroken = errors.New("broken")

func (s *slow) Write(b []byte) (int, error) {
	if s.fail.Load() {
		return 0, errBroken
	}
	time.Sleep(time.Duration(s.stand.Swap(0)))
	s.taken.Add(int64(len(b)))
	return len(b), nil
}

func TestSendPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		var rate atomic.Int64
		rate.Store(int64(8 * emulator.Mbps))
		done := make(chan error, 1)
		start := func() {
			go func() { done <- probe.SendPaced(&s, func() emulator.BitRate { return emulator.BitRate(rate.Load()) }) }()
		}
		during := func(what string, d time.Duration, want int64) {
			t.Helper()
			before := s.taken.Load()
			time.Sleep(d)
			if got := s.taken.Load() - before; got < want-20_000 || got > want+20_000 {
				t.Errorf("%s: %d bytes, want %d", what, got, want)
			}
		}
		start()
		during("8 Mb/s", time.Second, 1_000_000)
		s.stand.Store(int64(500 * ms))
		during("made up for a short stop", time.Second, 1_000_000)
		s.stand.Store(int64(5 * time.Second))
		during("no more than a second made up for", 6*time.Second, 2_000_000)
		rate.Store(int64(16 * emulator.Mbps))
		during("16 Mb/s", time.Second, 2_000_000)
		rate.Store(0)
		if err := <-done; err != nil {
			t.Error(err)
		}
		rate.Store(int64(emulator.Mbps))
		start()
		s.fail.Store(true)
		if err := <-done; !errors.Is(err, errBroken) {
			t.Errorf("ended with %v", err)
		}
	})
}
