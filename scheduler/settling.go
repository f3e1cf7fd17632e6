package scheduler

import (
	"fmt"
	"time"
)

// What counts as steady answers. A first start should not keep anyone waiting;
// after a death a fluke must not bring all subflows back, since the worst gap
// of a bond comes when a path returns for a moment.
const (
	firstAnswers = 3
	firstTime    = 100 * time.Millisecond
	againAnswers = 5
	againTime    = 300 * time.Millisecond
	longestTime  = 30 * time.Second

	// A death within flapTime of coming up doubles againTime; flapForgotten
	// of being up forgives all.
	flapTime      = time.Minute
	flapForgotten = 10 * time.Minute
	maxFlaps      = 7 // 300 ms doubled seven times is more than longestTime
)

// settling decides when an uplink that answers may be used.
type settling struct {
	since       time.Time // answers to beats before that do not count
	first, last time.Time // counted answers
	answers     int
	dead        bool // it has died before
	flaps       int
	flapped     bool // the last death was counted in flaps
	upAt        time.Time
}

func (s *settling) restart(now time.Time) { s.since, s.answers = now, 0 }

// answer counts one to a beat of that time.
func (s *settling) answer(now, sent time.Time) {
	if sent.Before(s.since) {
		return
	}
	if s.answers == 0 {
		s.first = now
	}
	s.answers++
	s.last = now
}

// needs returns how many answers make an uplink, over how long.
func (s *settling) needs() (answers int, over time.Duration) {
	if !s.dead {
		return firstAnswers, firstTime
	}
	return againAnswers, min(againTime<<s.flaps, longestTime)
}

func (s *settling) done() bool {
	answers, over := s.needs()
	return s.answers >= answers && s.last.Sub(s.first) >= over
}

func (s *settling) up(now time.Time) { s.upAt = now }

// died notes a death of an uplink that was up; counts is whether it can be
// flapping.
func (s *settling) died(now time.Time, counts bool) {
	up := now.Sub(s.upAt)
	if up >= flapForgotten {
		s.flaps = 0
	}
	s.dead = true
	s.flapped = counts && up <= flapTime && s.flaps < maxFlaps
	if s.flapped {
		s.flaps++
	}
}

// forgive takes the last death back: it was none.
func (s *settling) forgive() {
	if s.flapped {
		s.flaps--
		s.flapped = false
	}
}

func (s *settling) reason(now time.Time) string {
	answers, over := s.needs()
	switch {
	case s.flaps > 0 && s.dead && s.answers == 0:
		return "flaps: waits " + inSeconds(over)
	case s.flaps > 0 && s.dead:
		return fmt.Sprintf("flaps: waits %s, answers since %s", inSeconds(over), inSeconds(now.Sub(s.first)))
	case s.answers == 0:
		return "connected, waits for answers"
	}
	again := ""
	if s.dead {
		again = "again "
	}
	return fmt.Sprintf("answers %ssince %s, %d of %d", again, inSeconds(now.Sub(s.first)), min(s.answers, answers), answers)
}
