package dashboard

import (
	"time"
)

// What a history holds: an hour, which is a point for each two or three pixels of
// a wide graph.
const (
	Step   = 2 * time.Second // what one point stands for
	Points = int(time.Hour / Step)
	// MaxSeries bounds a history's memory to 2 MB, whatever uplinks or clients
	// come and go.
	MaxSeries = 64
)

// History keeps the rates of the last hour, of each uplink or each client. It has
// no clock and no lock.
type History struct {
	series map[string]*series
	names  []string // in the order in which they came
}

// series is a ring, in which each point says which one it is: so one that was left
// out, or is an hour old, is none.
type series struct {
	ring [Points]point
	last uint32 // the number of the latest point
}

// point is the sum of the samples of one step.
type point struct {
	number  uint32 // steps since 1970
	samples uint32
	rx, tx  float32 // bits per second
}

// Rate is what moves now, in bits per second.
type Rate struct {
	Name         string
	RxBps, TxBps float64
}

func number(t time.Time) uint32 { return uint32(t.Unix() / int64(Step/time.Second)) }

// Add notes rates at a time. Several of one step are averaged. Of more than
// MaxSeries names those that were not seen for an hour make room; the rest is not
// kept.
func (h *History) Add(now time.Time, rates []Rate) {
	n := number(now)
	for _, r := range rates {
		s := h.find(r.Name, n)
		if s == nil {
			continue
		}
		p := &s.ring[n%uint32(Points)]
		if p.number != n {
			*p = point{number: n}
		}
		p.samples++
		p.rx += float32(r.RxBps)
		p.tx += float32(r.TxBps)
		s.last = n
	}
}

// find returns the series of a name, a new one if there is room at step n.
func (h *History) find(name string, n uint32) *series {
	if s := h.series[name]; s != nil {
		return s
	}
	if h.series == nil {
		h.series = make(map[string]*series)
	}
	if len(h.names) >= MaxSeries && !h.forget(n) {
		return nil
	}
	s := &series{}
	h.series[name] = s
	h.names = append(h.names, name)
	return s
}

// forget drops one series that has nothing of the hour before step n.
func (h *History) forget(n uint32) bool {
	for i, name := range h.names {
		if !within(h.series[name].last, n) {
			delete(h.series, name)
			h.names = append(h.names[:i], h.names[i+1:]...)
			return true
		}
	}
	return false
}

// within reports whether step p is of the hour that ends with step n. A clock that
// was set back leaves points of the future, which are none.
func within(p, n uint32) bool { return p <= n && n-p < uint32(Points) }

// Hour is a history as the page gets it.
type Hour struct {
	StepS int `json:"step_s"` // seconds for each point
	// EndS is when the last point of each series ends, in seconds since 1970.
	EndS   int64    `json:"end_s"`
	Series []Series `json:"series"`
}

// Series is the rates of one name, in bits per second, the oldest first: at most
// Points, each as many as the other. -1 is not known.
type Series struct {
	Name  string  `json:"name"`
	RxBps []int64 `json:"rx_bps"`
	TxBps []int64 `json:"tx_bps"`
}

// Hour returns the hour before a time.
func (h *History) Hour(now time.Time) Hour {
	n := number(now)
	step := int64(Step / time.Second)
	hour := Hour{StepS: int(step), EndS: (int64(n) + 1) * step, Series: []Series{}}
	for _, name := range h.names {
		s := h.series[name]
		one := Series{Name: name, RxBps: []int64{}, TxBps: []int64{}}
		for i := range uint32(Points) {
			k := n - uint32(Points) + 1 + i
			p := &s.ring[k%uint32(Points)]
			switch {
			case p.number == k && p.samples > 0:
				one.RxBps = append(one.RxBps, int64(p.rx/float32(p.samples)))
				one.TxBps = append(one.TxBps, int64(p.tx/float32(p.samples)))
			case len(one.RxBps) > 0:
				one.RxBps, one.TxBps = append(one.RxBps, -1), append(one.TxBps, -1)
			}
		}
		if len(one.RxBps) > 0 {
			hour.Series = append(hour.Series, one)
		}
	}
	return hour
}
