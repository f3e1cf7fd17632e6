package tunnel

import (
	"testing"
	"time"
)

func TestActivity(t *testing.T) {
	a := newActivity()
	now := time.Unix(0, 0)
	want := func(what string, tick time.Duration, wakes bool) {
		t.Helper()
		got, wake := a.next(now)
		if got != tick || (wake != nil) != wakes {
			t.Errorf("%s: %v, wakes: %v", what, got, wake != nil)
		}
	}
	want("at first", livenessTick, false)
	now = now.Add(activeFor)
	want("nothing moved", idleTick, true)
	a.note()
	select {
	case <-a.wake:
	default:
		t.Error("not woken")
	}
	want("it moved", livenessTick, false)
	for range 100 {
		a.note()
	}
	now = now.Add(activeFor - time.Second)
	want("it moved all the time", livenessTick, false)
	now = now.Add(activeFor - time.Second)
	want("still active", livenessTick, false)
	now = now.Add(time.Second)
	want("quiet", idleTick, true)
	if n := testing.AllocsPerRun(100, a.note); n != 0 {
		t.Errorf("note allocates %v times", n)
	}
}
