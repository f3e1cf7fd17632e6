package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"braid/scheduler"
)

// trialConn is a connection whose subflows a test sets.
type trialConn struct {
	fakeConn
	list []Subflow
}

func (c *trialConn) AppendSubflows(dst []Subflow) ([]Subflow, error) {
	return append(dst, c.list...), nil
}

func trialFlow(uplink string, port uint16) Subflow {
	return Subflow{Uplink: uplink, Local: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), port)}
}

// A lost segment holds up for some time what comes behind it: what the program got by
// then is not what the line has brought, and the rate is that of the line.
func TestTrialFigures(t *testing.T) {
	const (
		length  = 3 * time.Second
		segment = 1428
		second  = 4000 // segments on dsl, half of that on lte
	)
	for what, up := range map[string]bool{"down": false, "up": true} {
		conn := &trialConn{}
		r := newTrial(&link{conn: conn}, up)
		r.length = length
		for at := time.Duration(0); at <= length+100*time.Millisecond; at += 100 * time.Millisecond {
			n := uint64(float64(second) * min(at, length).Seconds())
			dsl, lte := trialFlow("dsl", 1), trialFlow("lte", 2)
			for f, n := range map[*Subflow]uint64{&dsl: n, &lte: n / 2} {
				f.TxSegments, f.Retransmission = n, n/100
				if up {
					f.AckedBytes, f.TxDataSegments = n*segment, n
				} else {
					f.RxBytes, f.RxDataSegments = n*segment, n
				}
			}
			if held := dsl.AckedBytes / 4; up && at < length { // and told so
				dsl.AckedBytes, dsl.SackedBytes = dsl.AckedBytes-held, held
			}
			conn.list = []Subflow{dsl, lte}
			r.began = time.Now().Add(-at)
			got := n * segment * 3 / 2
			if at < 1200*time.Millisecond { // nothing comes through before, then all at once
				got /= 2
			}
			r.bytes = got
			r.sampleLocked(at)
			r.look()
		}
		r.fin, r.tally.Segments, r.tally.Again = true, 200, 4
		way, err := r.figures()
		want := scheduler.BitRate(8 * second * segment * 1.5)
		if err != nil || way.Rate < 0.99*want || way.Rate > 1.01*want {
			t.Errorf("%s: %v, %v; want %v", what, way.Rate, err, want)
		}
		if line := 1500.0 / segment * want; way.Line < 0.99*line || way.Line > 1.02*line {
			t.Errorf("%s: with headers %v, want %v", what, way.Line, line)
		}
		if dsl, lte := way.Parts["dsl"], way.Parts["lte"]; dsl < 0.6*way.Rate || dsl > 0.72*way.Rate || dsl+lte < 0.99*way.Rate {
			t.Errorf("%s: parts %v", what, way.Parts)
		}
		if lost := map[bool]float64{false: 0.02, true: 0.01}[up]; way.Lost < lost-0.001 || way.Lost > lost+0.001 {
			t.Errorf("%s: lost %v", what, way.Lost)
		}
		r.fin = false // it was cut off, so that not all has come
		if way, err := r.figures(); err != nil || way.Rate < 0.98*want || way.Rate > 1.01*want {
			t.Errorf("%s, cut off: %v, %v; want %v", what, way.Rate, err, want)
		}
	}
}

func TestTrialWithoutData(t *testing.T) {
	r := newTrial(&link{conn: &trialConn{}}, false)
	r.began, r.length = time.Now(), time.Second
	r.look()
	if way, err := r.figures(); err == nil || way.Rate != 0 {
		t.Errorf("%+v, %v", way, err)
	}
}
