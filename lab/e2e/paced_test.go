package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// pacedLoad is a download at a rate that the test changes.
type pacedLoad struct {
	w    *world
	conn net.Conn
	rate atomic.Int64
	took atomic.Int64
	done chan error
}

func (w *world) startPaced(rate emulator.BitRate) *pacedLoad {
	w.Helper()
	l := &pacedLoad{w: w, done: make(chan error, 1)}
	l.setRate(rate)
	at := w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		_ = probe.SendPaced(c, func() emulator.BitRate { return emulator.BitRate(l.rate.Load()) })
	})
	var err error
	l.conn, err = w.Net.Client.DialContext(w.patient(), "tcp", at.String())
	w.must(err)
	w.Cleanup(func() {
		l.setRate(0)
		l.conn.Close()
	})
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := l.conn.Read(b)
			l.took.Add(int64(n))
			if err != nil {
				l.done <- err
				return
			}
		}
	}()
	return l
}

func (l *pacedLoad) setRate(r emulator.BitRate) { l.rate.Store(int64(r)) }
func (l *pacedLoad) size() int64                { return l.took.Load() }

// progress waits for more to arrive.
func (l *pacedLoad) progress(bytes int64) {
	l.w.Helper()
	for want, end := l.size()+bytes, time.Now().Add(patience); l.size() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			l.w.Fatalf("the load stands at %d bytes", l.size())
		}
	}
}

// finish ends it: the end must arrive.
func (l *pacedLoad) finish() {
	l.w.Helper()
	l.setRate(0)
	select {
	case err := <-l.done:
		if !errors.Is(err, io.EOF) {
			l.w.Errorf("the load ended with %v after %d bytes", err, l.size())
		}
	case <-time.After(patience):
		l.w.Error("the load's end did not arrive")
	}
	l.conn.Close()
}

// carried is what an uplink has carried both ways, as the emulator counts.
type carried struct{ bytes, large uint64 }

func (w *world) carried(uplink string) (sum carried) {
	w.Helper()
	for _, way := range []lab.Way{lab.AToB, lab.BToA} {
		c, err := w.Net.Links[uplink].Counters(way)
		w.must(err)
		sum.bytes += c.Bytes
		sum.large += c.Large
	}
	return sum
}

// share is an uplink's part of all bytes while something is done.
func (w *world) share(uplink string, do func()) float64 {
	w.Helper()
	own, all := 0.0, 0.0
	for name := range w.Net.Links {
		n := float64(w.carried(name).bytes)
		all -= n
		if name == uplink {
			own -= n
		}
	}
	do()
	for name := range w.Net.Links {
		n := float64(w.carried(name).bytes)
		all += n
		if name == uplink {
			own += n
		}
	}
	return own / max(all, 1)
}

// fewLarge is how many packets of probes and of new connections may be as
// large as payload's: handshakes of TLS.
const fewLarge = 20

// carriesNothing checks that an uplink carries no payload while something is
// done.
func (w *world) carriesNothing(uplink, what string, do func()) {
	w.Helper()
	before := w.carried(uplink)
	do()
	after := w.carried(uplink)
	if n := after.large - before.large; n > fewLarge {
		status, err := w.Client.Status(w.ctx)
		w.must(err)
		text, err := json.Marshal(status.Uplinks)
		w.must(err)
		w.Errorf("%s carried %d packets of payload %s, %d bytes in all: %s", uplink, n, what, after.bytes-before.bytes, text)
	}
}

// falls waits until an uplink carries no payload for a second.
func (w *world) falls(uplink string) {
	w.Helper()
	last, since := w.carried(uplink), time.Now()
	for end := time.Now().Add(patience); time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		now := w.carried(uplink)
		if now.large > last.large {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			w.Fatalf("%s carries payload still, status %+v", uplink, w.uplink(uplink))
		}
	}
}
