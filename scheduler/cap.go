package scheduler

import (
	"fmt"
	"math"
	"time"
)

// CapLevel says how much of a cap is spent.
type CapLevel int

// The levels of a cap, and what Plan makes of them.
const (
	CapFree  CapLevel = iota // nothing
	CapNear                  // 90 %: a bond uplink is overflow
	CapSpent                 // all: whatever it was is a backup
)

var capNames = [...]string{"free", "near", "spent"}

// String returns the level's name, as in the status.
func (l CapLevel) String() string { return name(capNames[:], int(l), "cap level") }

const (
	nearPercent = 90

	// nearBoundary is how far a clock may be set back over the beginning of
	// a month without reopening the month before: steps of NTP, and travel.
	nearBoundary = 48 * time.Hour

	// farAhead, in months, is a record that no sane clock has written.
	farAhead = 12
)

// clockSet is the first month that a clock may show that has been set: hosts
// without a battery begin in 1970 or when their system was built.
var clockSet = monthOf(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))

// Cap counts the bytes of an uplink in a calendar month.
//
// A clock that is wrong does no harm: while it is not set, bytes count for the
// month last known; if it goes back a long way, what is counted goes with it;
// and when it returns to a month that it came from, that month's count goes
// on.
type Cap struct {
	limit    uint64
	location *time.Location
	current  count
	other    count // the month before the last change of month, if any
}

type count struct {
	month month
	bytes uint64
}

// CapStatus is a cap as shown.
type CapStatus struct {
	UsedBytes  uint64
	LimitBytes uint64 // 0 is no cap
	Fraction   float64
	Level      CapLevel
	Resets     time.Time // first instant of the next month
}

// CapRecord is what has to be kept of a cap over restarts.
type CapRecord struct {
	Month string `json:"month"` // "2026-11"; "" if nothing was counted
	Bytes uint64 `json:"bytes"`
}

// NewCap returns a cap of so many bytes a month; 0 only counts. Months begin
// at midnight of the location; nil is time.Local.
func NewCap(limit uint64, location *time.Location) *Cap {
	if location == nil {
		location = time.Local
	}
	return &Cap{limit: limit, location: location}
}

// Add counts bytes, both directions together.
func (c *Cap) Add(now time.Time, bytes uint64) {
	c.turn(now)
	c.current.bytes = saturated(c.current.bytes, bytes)
}

// Level says how much is spent.
func (c *Cap) Level(now time.Time) CapLevel {
	c.turn(now)
	switch used := float64(c.current.bytes); {
	case c.limit == 0:
		return CapFree
	case c.current.bytes >= c.limit:
		return CapSpent
	case used >= float64(c.limit)*nearPercent/100:
		return CapNear
	}
	return CapFree
}

// Status returns the cap as shown.
func (c *Cap) Status(now time.Time) CapStatus {
	s := CapStatus{Level: c.Level(now), UsedBytes: c.current.bytes, LimitBytes: c.limit}
	if c.limit > 0 {
		s.Fraction = float64(c.current.bytes) / float64(c.limit)
	}
	s.Resets = (c.current.month + 1).begins(c.location)
	return s
}

// Snapshot returns what Restore wants after a restart.
func (c *Cap) Snapshot() CapRecord {
	if c.current == (count{}) {
		return CapRecord{}
	}
	return CapRecord{Month: c.current.month.String(), Bytes: c.current.bytes}
}

// Restore goes on from a record, whose bytes come on top of those counted
// already if they are of the same month. A record that cannot be is refused,
// and the cap stays as it was.
func (c *Cap) Restore(now time.Time, r CapRecord) error {
	if r == (CapRecord{}) {
		return nil
	}
	m, err := parseMonth(r.Month)
	if err != nil {
		return fmt.Errorf("restore the count of a cap: %w; it starts from zero", err)
	}
	here := monthOf(now.In(c.location))
	if here >= clockSet && m > here+farAhead {
		return fmt.Errorf("restore the count of a cap: month %s lies far ahead; it starts from zero", m)
	}
	counted := c.current
	c.current, c.other = count{m, r.Bytes}, count{}
	if counted != (count{}) {
		c.turnTo(counted.month)
		c.current.bytes = saturated(c.current.bytes, counted.bytes)
	}
	c.turn(now)
	return nil
}

// turn follows the calendar.
func (c *Cap) turn(now time.Time) {
	m := monthOf(now.In(c.location))
	switch {
	case c.current == (count{}):
		c.current.month = m
	case m < clockSet && c.current.month >= clockSet:
		// not set yet
	case m < c.current.month && monthOf(now.Add(nearBoundary).In(c.location)) >= c.current.month:
		// a step over the boundary
	default:
		c.turnTo(m)
	}
}

func (c *Cap) turnTo(m month) {
	from := c.current
	switch {
	case m == from.month:
		return
	case m > from.month && (m == c.other.month || from.month < clockSet):
		// Back from an excursion into the past, which took the bytes along.
		c.current = count{m, from.bytes}
	case m > from.month:
		c.current = count{month: m}
	case m == c.other.month:
		// Back from an excursion into the future.
		c.current = count{m, saturated(c.other.bytes, from.bytes)}
	default:
		c.current = count{m, from.bytes}
	}
	c.other = from
}

// month counts calendar months from the year 0.
type month int

func monthOf(t time.Time) month { return month(t.Year()*12 + int(t.Month()) - 1) }

func (m month) begins(location *time.Location) time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, location)
}

func (m month) String() string { return fmt.Sprintf("%04d-%02d", int(m)/12, int(m)%12+1) }

func parseMonth(s string) (month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Year() == 0 {
		return 0, fmt.Errorf("%.20q is not a month", s)
	}
	return monthOf(t), nil
}

func saturated(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
