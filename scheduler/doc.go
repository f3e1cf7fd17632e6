// Package scheduler holds the judgements about uplinks: which of them live,
// how often to ask, when the overflow joins, how much a cap has left, what
// each uplink is used for in the end, and at which rate streams leave it without
// a queue (Calm).
//
//	beats, answers, kernel's counters ─ Health ─┐
//	bytes of the month ──────────────── Cap ────┼─ Plan ─ active, standby or none
//	rates and backlog ───────────────── Overflow┘
//
// Nothing here does I/O, reads a clock, locks or starts a goroutine: the time
// is an argument, and the same calls give the same answers. A value belongs to
// one goroutine, or to whoever holds its owner's lock. Times should carry a
// monotonic reading, as time.Now gives them, except those of Cap, which asks
// the calendar.
package scheduler
