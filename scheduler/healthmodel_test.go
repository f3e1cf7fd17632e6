package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// checker drives a Health and keeps what must always hold.
type checker struct {
	t                  testing.TB
	h                  Health
	now                time.Time
	present, connected bool
	state              State
}

// does performs one of the calls and judges.
func (c *checker) does(call, value byte) {
	h := &c.h
	wait := time.Duration(value) * 3 * ms
	switch call % 12 {
	case 0:
		h.Present(c.now, true, "")
		c.present = true
	case 1:
		if value < 64 {
			h.Present(c.now, false, "link is down")
			c.present = false
		}
	case 2:
		h.Connected(c.now)
		c.connected = true
	case 3:
		if value < 64 {
			h.Disconnected(c.now, "reset")
			c.connected = false
		}
	case 4, 5:
		h.Sent(c.now)
	case 6, 7:
		h.Answered(c.now, wait)
	case 8:
		h.Heard(c.now.Add(20*ms - wait))
	case 9:
		if value < 16 {
			h.Woke(c.now)
		}
	case 10:
		c.wait(wait)
	case 11:
		c.wait(wait * 20)
	}
	c.step(c.now)
}

// step judges, and checks what is said about it.
func (c *checker) step(now time.Time) []Transition {
	c.t.Helper()
	h := &c.h
	changes := h.Step(now)
	for _, x := range changes {
		if x.From != c.state || x.From == x.To || x.Reason == "" {
			c.t.Fatalf("was %v, transition %+v", c.state, x)
		}
		c.state = x.To
	}
	switch {
	case c.state != h.State():
		c.t.Fatalf("transitions lead to %v, State is %v", c.state, h.State())
	case h.Reason() == "":
		c.t.Fatalf("%v without a reason", c.state)
	case (c.state == Up || c.state == Late) && !(c.present && c.connected):
		c.t.Fatalf("%v: present %v, connected %v", c.state, c.present, c.connected)
	case h.Step(now) != nil:
		c.t.Fatal("a second Step changed more")
	}
	if d := h.Deadline(); !d.IsZero() && !d.After(h.now) {
		c.t.Fatalf("%v: deadline %v is not after now: who waits for it spins", c.state, d.Sub(h.now))
	}
	return changes
}

// wait passes time as an owner does. Nothing may change but at a deadline.
func (c *checker) wait(d time.Duration) {
	c.t.Helper()
	end := c.now.Add(d)
	for {
		due := c.h.Deadline()
		before := end
		if !due.IsZero() && !due.After(end) {
			before = due.Add(-1)
		}
		if before.After(c.now) {
			if got := c.step(before); got != nil {
				c.t.Fatalf("%+v, before the deadline", got)
			}
			if again := c.h.Deadline(); again != due {
				c.t.Fatalf("the deadline moved from %v to %v by itself", due, again)
			}
		}
		if before == end {
			c.now = end
			return
		}
		c.now = due
		c.step(due)
	}
}

func TestHealthModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		c := &checker{t: t, now: epoch}
		for range 1000 {
			c.does(byte(rng.Uint32()), byte(rng.Uint32()))
		}
	}
}

func FuzzHealth(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 4, 0, 10, 10, 6, 10, 4, 0, 10, 20, 6, 20, 4, 0, 10, 30, 6, 30, 4, 0, 10, 99})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &checker{t: t, now: epoch}
		for ; len(data) >= 2; data = data[2:] {
			c.does(data[0], data[1])
		}
	})
}
