package tunnel

import (
	"time"

	"braid/scheduler"
)

// bulkBound is the most that a path may take of bulk flows, so that no queue grows
// in the modem while somebody calls (calm.go): a token bucket. What is sparse never
// asks. The zero value bounds nothing. The packet lane's mutex guards it.
type bulkBound struct {
	rate  float64 // bytes per second; 0: no bound
	room  float64 // bytes; below 0 nothing may be taken
	at    time.Time
	timer *time.Timer // wakes the writer; nil: it never had to wait
}

// boundBurst of the rate may be taken at once after a pause, as much as is written at
// once anyway, and boundLeast bytes, a full packet.
const (
	boundBurst = pieceTime
	boundLeast = 1500
)

// set changes the rate; 0 ends the bound.
func (b *bulkBound) set(now time.Time, rate scheduler.BitRate) {
	b.fill(now)
	b.rate = float64(rate) / 8
	if b.rate == 0 {
		b.room = 0
		if b.timer != nil {
			b.timer.Stop()
		}
	}
}

func (b *bulkBound) fill(now time.Time) {
	if elapsed := now.Sub(b.at).Seconds(); elapsed > 0 {
		b.room = min(b.room+elapsed*b.rate, max(b.rate*boundBurst.Seconds(), boundLeast))
		b.at = now
	}
}

// allows reports whether something may be taken. If not, the writer of p is woken
// when it may.
func (b *bulkBound) allows(now time.Time, p *packetPath) bool {
	if b.rate == 0 {
		return true
	}
	if b.fill(now); b.room >= 0 {
		return true
	}
	wait := time.Duration(-b.room/b.rate*float64(time.Second)) + time.Microsecond
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, p.wake)
	} else {
		b.timer.Reset(wait)
	}
	return false
}

// spend takes in that so many bytes were taken.
func (b *bulkBound) spend(bytes int) {
	if b.rate > 0 {
		b.room -= float64(bytes)
	}
}

// limit bounds what the path takes of bulk flows; 0: there is no bound.
func (p *packetPath) limit(rate scheduler.BitRate) {
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	if p.attached {
		p.bound.set(time.Now(), rate)
		p.wake()
	}
}
