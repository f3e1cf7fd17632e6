package hostnet

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// The clock leaps for other reasons, too.
func TestFollowSleep(t *testing.T) {
	errEnd := errors.New("end")
	total := []time.Duration{5 * time.Second, 5*time.Second + time.Microsecond, time.Hour, time.Hour, time.Hour + 2*time.Second}
	n := 0
	var reported []time.Duration
	err := followSleep(
		func() error {
			if n == len(total) {
				return errEnd
			}
			return nil
		},
		func() (time.Duration, error) { n++; return total[n-1], nil },
		func(slept time.Duration) { reported = append(reported, slept.Round(time.Second)) },
	)
	if want := []time.Duration{time.Hour - 5*time.Second, 2 * time.Second}; !errors.Is(err, errEnd) || !slices.Equal(reported, want) {
		t.Errorf("reported %v, %v, want %v", reported, err, want)
	}
}

// A host that does not sleep is not said to, and the end is noticed at once.
func TestWatchSleepEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := WatchSleep(ctx, func(slept time.Duration) { t.Errorf("slept for %v", slept) }); err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil {
		t.Error("it ended before its context")
	}
	if total, err := suspended(); err != nil || total < -time.Second {
		t.Errorf("suspended for %v, %v", total, err)
	}
}
