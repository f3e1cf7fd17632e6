package scheduler

import (
	"fmt"
	"time"
)

// Health judges the life of one uplink.
//
//	            Present                steady answers
//	(new) ───────────────▶ Probing ────────────────────▶ Up ◀──┐
//	            Connected, ▲     │ silent, not Present,  │     │ heard
//	            an answer  │     ▼ Disconnected     over-│     │
//	                       └── Dead ◀──────────── Late ◀─┘─────┘
//	                             ▲                       due
//	                             └── from any state: not Present, Disconnected
//
// The owner tells what happens, each with its time, and calls Step after that
// and when Deadline has come. Before a Step it reads what has arrived and what
// the kernel counts (tcpi_last_ack_recv, tcpi_last_data_recv), so that a busy
// process does not blame the uplink.
//
// An uplink is late, and then dead, by these rules (judge.go):
//
//	expected = srtt after the oldest unanswered beat, or the last segment heard if that is later
//	late     = expected + allowance + 10 ms
//	dead     = late + 100 ms + patience, if two beats wait and nothing was heard
//	dead     = oldest unanswered beat + 5 s + 2·srtt, whatever was heard
//
// The allowance is 4·rttvar, or the longest silence that was harmless of late,
// and is bounded so that silence kills an uplink of up to 200 ms within half a
// second. Patience is what deaths that were none have taught.
//
// The zero value is an uplink of which nothing is known yet. A Health belongs
// to one goroutine.
type Health struct {
	now        time.Time // latest that any call named
	state      State
	deadReason string
	pending    []Transition

	present   bool
	connected bool
	beats     beats
	heard     time.Time // latest segment from the server
	lateSeen  time.Time // when a Step found it late; zero if it did not
	woken     bool      // the state is Late because the host slept
	rtt       RTTEstimator
	sample    sample
	patience  patience
	settling  settling
}

// Transition is a change of an uplink's state.
type Transition struct {
	At       time.Time
	From, To State
	Reason   string // for people
}

// NewHealth returns the health of an uplink of which nothing is known yet.
func NewHealth(now time.Time) *Health { return &Health{now: now} }

// Present says whether the host has the uplink: link, address and default
// route; if not, reason says what is missing, for people. A loss is death at
// once. Saying the same again changes nothing.
func (h *Health) Present(now time.Time, ok bool, reason string) {
	h.advance(now)
	switch {
	case !ok:
		if reason == "" {
			reason = "it is not usable"
		}
		h.present = false
		h.rtt = RTTEstimator{} // what comes back may be another network
		h.forgetBeats()
		h.die(reason)
	case !h.present:
		h.present = true
		h.forgetBeats()
		h.probe()
	}
}

// Connected says that the uplink's path carrier is established. One that
// takes the place of another on a living uplink changes only which beats are
// waited for.
func (h *Health) Connected(now time.Time) {
	h.advance(now)
	h.connected = true
	h.forgetBeats()
	h.hear(h.now)
	if h.state == Dead || h.state == Probing {
		// After a death the path may be another; the round trip is learnt anew.
		h.rtt = RTTEstimator{}
		h.settling.restart(h.now)
	}
	if h.present && h.state == Dead {
		h.probe()
	}
}

// Disconnected says that the path carrier is broken, or could not be
// established, and why, for people. Without a reason a dead uplink keeps the
// reason it has.
func (h *Health) Disconnected(now time.Time, reason string) {
	h.advance(now)
	h.connected = false
	h.forgetBeats()
	if !h.present || h.state == Dead && reason == "" {
		return
	}
	if reason == "" {
		reason = "its carrier broke"
	}
	h.die(reason)
}

// Sent says that a beat left on the path carrier.
func (h *Health) Sent(now time.Time) {
	h.advance(now)
	if !h.connected || !h.present {
		return
	}
	h.takeSample()
	h.patience.decay(h.now)
	h.beats.push(h.now)
}

// Answered says that a beat's answer came, and how long after the beat. Those
// of a carrier before the present one count for what was heard only.
func (h *Health) Answered(now time.Time, rtt time.Duration) {
	h.advance(now)
	if !h.present {
		return
	}
	sent := h.now.Add(-max(rtt, 0))
	if h.patience.spurious(h.now, sent, h.allowance()) {
		h.settling.forgive()
	}
	if !h.connected {
		return
	}
	h.hear(h.now)
	if h.beats.answered(sent) {
		h.sample = sample{at: h.now, rtt: max(rtt, 1), set: true}
		if h.rtt.Smoothed == 0 {
			h.takeSample()
		}
	}
	if h.state == Dead {
		h.probe()
	}
	if h.state == Probing {
		h.settling.answer(h.now, sent)
	}
}

// Heard says that the kernel had a segment from the server over this uplink,
// at a time that may lie before the last call. An owner that polls says the
// newest, every 10 to 50 ms.
func (h *Health) Heard(at time.Time) {
	if at.After(h.now) {
		h.now = at
	}
	if h.present && h.connected {
		h.hear(at)
	}
}

// Woke says that the host slept, or its clock leapt: what is unanswered says
// nothing. An uplink that was up is late until it is heard again, and the
// first beat has a second for that.
func (h *Health) Woke(now time.Time) {
	h.advance(now)
	h.forgetBeats()
	h.heard = h.now
	switch h.state {
	case Up, Late:
		h.woken = true
		h.enter(Late)
	case Probing:
		h.settling.restart(h.now)
	}
}

// State returns the state as of the last call.
func (h *Health) State() State { return h.state }

// RTT returns the estimates of the uplink's round trip.
func (h *Health) RTT() RTT { return h.rtt.RTT }

// Quick reports whether beats should go at the quick pace even without
// traffic: something is to be found out.
func (h *Health) Quick() bool {
	return h.present && h.connected && (h.state == Probing || h.state == Late)
}

// Reason says for people why the uplink is in its state, as of the last call.
func (h *Health) Reason() string {
	switch h.state {
	case Up:
		return "answers in " + inMillis(h.rtt.Smoothed)
	case Late:
		if h.woken {
			return "was asleep, waits for an answer"
		}
		return "no answer for " + inMillis(h.silence())
	case Dead:
		return h.deadReason
	}
	switch {
	case !h.present:
		return "not looked at yet"
	case !h.connected:
		return "connects"
	}
	return h.settling.reason(h.now)
}

// silence is how long an answer has been missing: since the oldest beat
// without one, or since something was heard after it.
func (h *Health) silence() time.Duration {
	if h.beats.n == 0 {
		return h.now.Sub(h.heard)
	}
	return h.now.Sub(later(h.heard, h.beats.oldest()))
}

func (h *Health) advance(now time.Time) {
	if now.After(h.now) {
		h.now = now
	}
}

// enter changes the state and notes it for the next Step.
func (h *Health) enter(to State) {
	if to == h.state {
		return
	}
	from := h.state
	h.state = to
	h.pending = append(h.pending, Transition{At: h.now, From: from, To: to, Reason: h.Reason()})
}

func (h *Health) probe() {
	h.lateSeen = time.Time{}
	h.settling.restart(h.now)
	h.enter(Probing)
}

// die enters Dead, or renews the reason.
func (h *Health) die(reason string) {
	h.deadReason = reason
	if h.state == Up || h.state == Late {
		h.settling.died(h.now, !h.woken)
	}
	h.woken = false
	h.forgetBeats()
	h.enter(Dead)
}

func (h *Health) forgetBeats() {
	h.beats.forget()
	h.sample.set = false
	h.lateSeen = time.Time{}
}

// inMillis writes a time for people: a millisecond is as fine as anyone asks.
func inMillis(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return inSeconds(d)
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
