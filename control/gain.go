package control

import "fmt"

// Directions of traffic, seen from the daemon.
const (
	DirectionRx = "rx"
	DirectionTx = "tx"
)

// Gain is what it brings now to use several uplinks together: how much all of
// them carry, beside what the fastest could alone, as far as is known of it, in the
// direction in which more is carried.
type Gain struct {
	// Factor is how many times as fast the whole is: 1 is no gain. It is 0 where there
	// is nothing to compare, and what follows is then empty but for Text: fewer than
	// two uplinks work, or there is next to no traffic.
	Factor    float64 `json:"factor"`
	Uplink    string  `json:"uplink"`    // the fastest, as Uplink.Interface
	AloneBps  float64 `json:"alone_bps"` // the most that it has now or had of late, in bits per second
	Direction string  `json:"direction"` // DirectionRx or DirectionTx
	Text      string  `json:"text"`      // for people: "1.5 times dsl alone (50.0 Mb/s down)"
}

// Gains below least are within what rates waver. With less traffic than idle, in
// bits per second, nobody asks for what an uplink has.
const (
	leastGain = 1.05
	idleBps   = 100e3
)

// gainOf compares uplinks. rx and tx are the directions' names for people.
func gainOf(uplinks []Uplink, rx, tx string) Gain {
	var total, best [2]float64
	var name [2]string
	works := 0
	for i := range uplinks {
		u := &uplinks[i]
		now, most := [2]float64{u.RxBps, u.TxBps}, [2]float64{u.DeliverRxBps, u.DeliverTxBps}
		if u.State != UplinkUp && u.State != UplinkLate && u.State != UplinkQuarantined {
			continue // its rates are of the last second
		}
		works++
		for d := range now {
			total[d] += now[d]
			if alone := max(now[d], most[d]); alone > best[d] {
				best[d], name[d] = alone, u.Interface
			}
		}
	}
	d, word, direction := 0, rx, DirectionRx
	if total[1] > total[0] {
		d, word, direction = 1, tx, DirectionTx
	}
	switch {
	case works == 0:
		return Gain{Text: "no uplink works"}
	case works == 1:
		return Gain{Text: "no gain, one uplink works"}
	case total[d] < idleBps:
		return Gain{Text: "nothing to gain, next to no traffic"}
	}
	g := Gain{Factor: total[d] / best[d], Uplink: name[d], AloneBps: best[d], Direction: direction}
	if g.Factor < leastGain {
		g.Factor, g.Text = 1, fmt.Sprintf("no gain, %s alone has %s %s", ShortName(g.Uplink), FormatRate(g.AloneBps), word)
	} else {
		g.Text = fmt.Sprintf("%.1f times %s alone (%s %s)", g.Factor, ShortName(g.Uplink), FormatRate(g.AloneBps), word)
	}
	return g
}
