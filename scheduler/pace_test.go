package scheduler

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	for name, test := range map[string]struct {
		pace               Pace
		now, beat, traffic time.Time
		quick              bool
		want               time.Duration
	}{
		"first":                    {now: epoch, want: 0},
		"traffic now":              {now: at(20 * ms), beat: epoch, traffic: at(20 * ms), want: 30 * ms},
		"traffic a second ago":     {now: at(999 * ms), beat: at(980 * ms), traffic: epoch, want: 31 * ms},
		"traffic after a pause":    {now: at(time.Hour), beat: at(time.Hour - 30*time.Second), traffic: at(time.Hour), want: 0},
		"first pause":              {now: at(1000 * ms), beat: at(1000 * ms), traffic: epoch, want: 100 * ms},
		"second pause":             {now: at(1100 * ms), beat: at(1100 * ms), traffic: epoch, want: 200 * ms},
		"fifth pause, half over":   {now: at(3300 * ms), beat: at(2500 * ms), traffic: epoch, want: 800 * ms},
		"longest":                  {now: at(time.Hour), beat: at(time.Hour), traffic: epoch, want: IdlePace},
		"never any traffic":        {now: at(time.Hour), beat: at(time.Hour - 10*time.Second), want: IdlePace - 10*time.Second},
		"quick":                    {now: at(time.Hour), beat: at(time.Hour - 10*ms), traffic: epoch, quick: true, want: 40 * ms},
		"shorter":                  {pace: Pace{Idle: 5 * time.Second}, now: at(time.Hour), beat: at(time.Hour), want: 5 * time.Second},
		"too short":                {pace: Pace{Idle: 1}, now: at(time.Hour), beat: at(time.Hour), want: 100 * ms},
		"negative":                 {pace: Pace{Idle: -1}, now: at(time.Hour), beat: at(time.Hour), want: 100 * ms},
		"too long":                 {pace: Pace{Idle: 1<<63 - 1}, now: at(time.Hour), beat: at(time.Hour), want: time.Hour},
		"a beat from the future":   {now: epoch, beat: at(time.Hour), traffic: epoch, want: 50 * ms},
		"traffic from the future":  {now: epoch, beat: epoch, traffic: at(time.Hour), want: 50 * ms},
		"long overdue":             {now: at(time.Hour), beat: at(time.Minute), traffic: epoch, want: 0},
		"the beat was before that": {now: at(2 * time.Second), beat: at(-time.Minute), traffic: epoch, want: 0},
	} {
		if got := test.pace.Next(test.now, test.beat, test.traffic, test.quick); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// What an idle uplink's beats cost in the longest month, beginning with a
// second of traffic.
func TestIdleBytes(t *testing.T) {
	const month = 31 * 24 * time.Hour
	now, n := epoch, 0
	for now.Before(epoch.Add(month)) {
		n++
		now = now.Add(Pace{}.Next(now, now, epoch, false))
	}
	t.Logf("%d beats, %d bytes", n, n*BeatBytes)
	if n*BeatBytes > 6e6 || n < int(month/IdlePace) {
		t.Errorf("%d beats are %d bytes", n, n*BeatBytes)
	}
}

func TestRedial(t *testing.T) {
	for _, test := range []struct{ dead, want time.Duration }{
		{-time.Second, 250 * ms},
		{0, 250 * ms},
		{10*time.Second - 1, 250 * ms},
		{10 * time.Second, time.Second},
		{time.Minute, 5 * time.Second},
		{10 * time.Minute, 30 * time.Second},
		{1000 * time.Hour, 30 * time.Second},
	} {
		if got := Redial(test.dead, false); got != test.want {
			t.Errorf("%v: got %v, want %v", test.dead, got, test.want)
		}
		if got := Redial(test.dead, true); got != 250*ms {
			t.Errorf("%v, urgent: got %v", test.dead, got)
		}
	}
}
