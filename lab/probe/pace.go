package probe

import (
	"io"
	"time"

	"braid/lab/emulator"
)

const (
	// paceStep is how often a paced sender writes.
	paceStep = 10 * time.Millisecond
	// paceBacklog is how much of what it could not write in time it makes up
	// for, as a camera or a player's server would.
	paceBacklog = time.Second
)

// SendPaced writes zeros at a rate, which it asks for at every piece, until the
// rate is 0 or a write fails. What could not be written in time follows, up to
// a second's worth.
func SendPaced(w io.Writer, rate func() emulator.BitRate) error {
	var zeros [blockBytes]byte
	due := 0.0 // bytes
	for last := time.Now(); ; {
		r := rate()
		if r <= 0 {
			return nil
		}
		now := time.Now()
		perSecond := float64(r) / 8
		due = min(due+perSecond*now.Sub(last).Seconds(), perSecond*paceBacklog.Seconds())
		last = now
		for due >= 1 {
			n, err := w.Write(zeros[:min(int(due), len(zeros))])
			if err != nil {
				return err
			}
			due -= float64(n)
		}
		time.Sleep(paceStep)
	}
}
