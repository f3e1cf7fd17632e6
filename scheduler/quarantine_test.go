package scheduler

import (
	"strings"
	"testing"
	"time"
)

func TestQuarantine(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var q Quarantine
	// run steps once a second, and returns for how long it was left out, and
	// how often it was to be tried again.
	run := func(d time.Duration, use bool) (out time.Duration, again int) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
			o, a := q.Step(now, use, "it is slow")
			if o != q.Out() {
				t.Fatalf("Step says %v, Out %v", o, q.Out())
			}
			if o {
				out += time.Second
			}
			if a {
				again++
			}
		}
		return out, again
	}
	if out, _ := run(time.Hour, true); out != 0 {
		t.Errorf("left out for %v, and it is of use", out)
	}
	if out, _ := run(quarantineAfter, false); out != 0 {
		t.Errorf("left out at once")
	}
	run(2*time.Second, false)
	if !q.Out() || !strings.HasPrefix(q.Reason(now), "it is slow; tried again in 5") {
		t.Errorf("left out %v: %q", q.Out(), q.Reason(now))
	}
	if _, again := run(quarantineFirst, false); again != 1 {
		t.Errorf("tried again %d times in the first minute", again)
	}
	// Each time it takes longer, and never for ever.
	if _, again := run(3*time.Hour, false); again < 5 || again > 8 {
		t.Errorf("tried again %d times in three hours", again)
	}
	if _, again := run(4*time.Hour, false); again < 3 || again > 4 {
		t.Errorf("tried again %d times in four hours", again)
	}
	// One that is of use again is used at once.
	for !q.Out() {
		run(time.Second, false)
	}
	if out, _ := run(time.Minute, true); out != 0 {
		t.Errorf("left out for %v, and it is of use again", out)
	}
	// A minute of use forgets nothing, a long time does.
	run(quarantineAfter+time.Second, false)
	if wait := q.until.Sub(now); wait < 50*time.Minute {
		t.Errorf("left out for %v", wait)
	}
	run(quarantineForget+time.Second, true)
	run(quarantineAfter+time.Second, false)
	if wait := q.until.Sub(now); wait > quarantineFirst {
		t.Errorf("left out for %v", wait)
	}
}

func TestUseful(t *testing.T) {
	tests := []struct {
		name  string
		lines []Line
		want  bool
		words string
	}{
		{"cell A", []Line{line(50, 30, 0), line(30, 60, 0)}, true, ""},
		{"cell B", []Line{line(50, 30, 0), line(30, 200, 0.5)}, true, ""},
		{"cell C", []Line{line(50, 30, 0), line(30, 60, 2)}, true, ""},
		{"a tenth", []Line{line(50, 30, 0), line(5, 60, 0)}, true, ""},
		{"thin and far", []Line{line(50, 30, 0), line(2, 600, 1)}, false, "2.0 Mb/s in 600 ms with 1.0 % loss make nothing faster beside 50.0 Mb/s in 30 ms"},
		{"thin", []Line{line(50, 30, 0), line(1, 30, 0)}, false, "1.0 Mb/s in 30 ms make nothing"},
		{"not known", []Line{line(50, 30, 0), {RTT: time.Second}}, true, ""},
	}
	for _, tt := range tests {
		last := len(tt.lines) - 1
		if got, why := Useful(tt.lines, last); got != tt.want || !strings.HasPrefix(why, tt.words) {
			t.Errorf("%s: %v, %q", tt.name, got, why)
		}
		if got, why := Useful(tt.lines, 0); !got {
			t.Errorf("%s: the best is useless: %q", tt.name, why)
		}
	}
}
