package scheduler

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func day(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", s+" 00:00:00"[:19-len(s)])
	if err != nil {
		panic(err)
	}
	return t
}

func TestCapLevels(t *testing.T) {
	now := day("2026-11-21")
	for _, test := range []struct {
		limit, used uint64
		want        CapLevel
	}{
		{0, 1e18, CapFree}, {1000, 0, CapFree}, {1000, 899, CapFree}, {1000, 900, CapNear},
		{1000, 999, CapNear}, {1000, 1000, CapSpent}, {1000, 1<<64 - 1, CapSpent}, {1 << 63, 1 << 62, CapFree}, {1, 0, CapFree},
	} {
		c := NewCap(test.limit, time.UTC)
		c.Add(now, test.used)
		if got := c.Level(now); got != test.want {
			t.Errorf("%d of %d: got %v, want %v", test.used, test.limit, got, test.want)
		}
	}
}

func TestCapStatus(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	c := NewCap(50e9, berlin)
	c.Add(day("2026-11-30 22:59:59"), 46e9)
	got := c.Status(day("2026-11-30 22:59:59"))
	want := CapStatus{UsedBytes: 46e9, LimitBytes: 50e9, Fraction: .92, Level: CapNear, Resets: time.Date(2026, 12, 1, 0, 0, 0, 0, berlin)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = c.Status(day("2026-11-30 23:00:00"))
	want = CapStatus{LimitBytes: 50e9, Resets: time.Date(2027, 1, 1, 0, 0, 0, 0, berlin)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c.Add(day("2026-12-01"), 1<<64-1)
	c.Add(day("2026-12-01"), 1<<64-1)
	if s := c.Status(day("2026-12-01")); s.UsedBytes != 1<<64-1 || s.Level != CapSpent {
		t.Errorf("%+v", s)
	}
}

// What a calendar does, with 100 bytes at each date.
func TestCapClock(t *testing.T) {
	for name, test := range map[string]struct {
		dates []string
		want  uint64 // in the end
	}{
		"one month":                         {[]string{"2026-11-01", "2026-11-30"}, 200},
		"next month":                        {[]string{"2026-11-30", "2026-12-01"}, 100},
		"a year later":                      {[]string{"2026-11-30", "2027-11-30"}, 100},
		"not set at first":                  {[]string{"1970-01-01", "2026-11-30"}, 200},
		"not set in between":                {[]string{"2026-11-30", "1970-01-01", "2026-11-30"}, 300},
		"not set until the next month":      {[]string{"2026-11-30", "1970-01-01", "2026-12-02"}, 100},
		"a step back over the boundary":     {[]string{"2026-11-30 23:59:59", "2026-12-01 00:00:01", "2026-11-30 23:59:58", "2026-12-01 00:00:03"}, 300},
		"a stale clock":                     {[]string{"2026-11-10", "2026-09-01", "2026-11-10"}, 300},
		"a stale clock, still":              {[]string{"2026-11-10", "2026-09-01"}, 200},
		"the far future and back":           {[]string{"2026-11-10", "2036-01-01", "2026-11-10"}, 300},
		"the far future and the next month": {[]string{"2026-11-10", "2036-01-01", "2026-11-10", "2026-12-10"}, 100},
		"back and on to another month":      {[]string{"2026-11-10", "2026-09-01", "2026-12-10"}, 100},
	} {
		c := NewCap(1000, time.UTC)
		for _, d := range test.dates {
			c.Add(day(d), 100)
		}
		if got := c.Status(day(test.dates[len(test.dates)-1])).UsedBytes; got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}

func TestCapSurvivesRestart(t *testing.T) {
	for name, test := range map[string]struct {
		record string
		before uint64 // counted before Restore
		now    string
		want   uint64
		err    string
	}{
		"nothing":            {`{}`, 0, "2026-11-21", 0, ""},
		"this month":         {`{"month":"2026-11","bytes":7}`, 0, "2026-11-21", 7, ""},
		"this month, late":   {`{"month":"2026-11","bytes":7}`, 5, "2026-11-21", 12, ""},
		"last month":         {`{"month":"2026-10","bytes":7}`, 5, "2026-11-21", 5, ""},
		"a stale clock":      {`{"month":"2026-11","bytes":7}`, 0, "2026-09-21", 7, ""},
		"not set":            {`{"month":"2026-11","bytes":7}`, 5, "1970-01-01", 12, ""},
		"written before set": {`{"month":"1970-01","bytes":7}`, 0, "2026-11-21", 7, ""},
		"no month":           {`{"month":"soon","bytes":7}`, 5, "2026-11-21", 5, "is not a month"},
		"no month either":    {`{"month":"2026-13","bytes":7}`, 5, "2026-11-21", 5, "is not a month"},
		"bytes alone":        {`{"bytes":7}`, 5, "2026-11-21", 5, "is not a month"},
		"the year 0":         {`{"month":"0000-01","bytes":7}`, 5, "2026-11-21", 5, "is not a month"},
		"far ahead":          {`{"month":"9999-01","bytes":7}`, 5, "2026-11-21", 5, "far ahead"},
	} {
		var r CapRecord
		if err := json.Unmarshal([]byte(test.record), &r); err != nil {
			t.Fatal(err)
		}
		c := NewCap(1000, time.UTC)
		now := day(test.now)
		if test.before > 0 {
			c.Add(now, test.before)
		}
		err := c.Restore(now, r)
		if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", name, err)
		}
		if got := c.Status(now).UsedBytes; got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
		again := NewCap(1000, time.UTC)
		if err := again.Restore(now, c.Snapshot()); err != nil || again.Status(now) != c.Status(now) {
			t.Errorf("%s: restored %+v from %+v, %v", name, again.Status(now), c.Snapshot(), err)
		}
	}
	if s := NewCap(1, nil).Snapshot(); s != (CapRecord{}) {
		t.Errorf("an unused cap has %+v", s)
	}
}

func FuzzCap(f *testing.F) {
	f.Add("2026-11", uint64(7), int64(1795000000), int64(1797600000), uint64(100))
	f.Add("9999-12", uint64(1)<<63, int64(0), int64(-1<<40), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, month string, bytes uint64, first, second int64, more uint64) {
		const sane = 1 << 36 // thousands of years
		a, b := time.Unix(first%sane, 0), time.Unix(second%sane, 0)
		c := NewCap(1000, time.UTC)
		err := c.Restore(a, CapRecord{month, bytes})
		if err != nil && c.Status(a).UsedBytes != 0 {
			t.Fatalf("%v, and yet %+v", err, c.Status(a))
		}
		c.Add(a, more)
		if c.Status(a).UsedBytes < more {
			t.Fatalf("%d bytes added, %+v", more, c.Status(a))
		}
		c.Add(b, 1)
		c.Status(b)
		c.Add(a, 1)
		// What has happened in a sane month does not stay for ever.
		for m := 1; m <= 3; m++ {
			now := time.Date(9000, time.Month(m), 20, 0, 0, 0, 0, time.UTC)
			c.Add(now, 1)
		}
		if c.current.month >= clockSet && c.current.month < monthOf(time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Fatalf("stuck in %v", c.current.month)
		}
	})
}
