package tunnel

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/tunnel/relay"
)

// linkSample is what was last read of a link's subflows.
type linkSample struct {
	uses  uint64 // of the link, at that time
	still int    // samples in a row in which nothing was used
	list  []Subflow
	at    time.Time // of was
	was   []Subflow // list some time ago
}

// sampledStill is how many samples are taken of a link that falls silent: a
// link whose subflows have died is silent, too.
const sampledStill = 10

// sampleLinks reads the subflows of links that were used lately, and appends
// those of all links to dst. It calls missing for links that have fewer than
// they should.
func (l *lane) sampleLinks(dst []Subflow, want int, missing func(*link)) []Subflow {
	for _, k := range l.allLinks() {
		if uses := k.uses.Load(); uses != k.sampled.uses || k.sampled.list == nil {
			k.sampled.uses, k.sampled.still = uses, 0
		}
		if k.sampled.still++; k.sampled.still <= sampledStill {
			list, err := k.conn.AppendSubflows(k.sampled.list[:0])
			if err != nil {
				continue
			}
			for i := range list {
				list[i].Trial = k.trial.Load()
			}
			if k.sampled.list = list; len(list) < want && !k.trial.Load() {
				missing(k)
			}
			k.makeRoom(time.Now())
		}
		dst = append(dst, k.sampled.list...)
	}
	return dst
}

// movingStill is for how many calls of moving, one each calmTick, a link moves
// after its last frame: one write can take seconds on a slow uplink.
const movingStill = 50

// moving appends the subflows of links on which something moved lately. The lane
// may be nil. One goroutine calls it.
func (l *lane) moving(dst []Subflow) []Subflow {
	if l == nil {
		return dst
	}
	for _, k := range l.allLinks() {
		m := &k.moves
		m.still++
		if uses := k.uses.Load(); uses != m.uses {
			m.uses, m.still = uses, 0
		}
		if m.still > movingStill {
			continue
		}
		if list, err := k.conn.AppendSubflows(dst); err == nil {
			dst = list
		}
	}
	return dst
}

// UplinkShare is what one uplink carried of a stream, bytes of its carriers.
type UplinkShare struct {
	Uplink           string
	RxBytes, TxBytes uint64
}

// StreamStatus is one stream now.
type StreamStatus struct {
	Source, Destination netip.AddrPort
	Outbound            bool // opened at this end
	Age                 time.Duration
	State               string // StreamConnecting, StreamOpen, StreamResuming
	RxBytes, TxBytes    uint64 // of the inner connection, from and to the peer
	RxBps, TxBps        float64
	Resumed             int
	Carrier             uint64 // number; 0: it has none
	Uplinks             []UplinkShare
}

// States of a stream.
const (
	StreamConnecting = "connecting"
	StreamOpen       = "open"
	StreamResuming   = "resuming"
)

// LaneStatus is the stream lane of one session now. Counters only grow.
type LaneStatus struct {
	Open, Waiting, Resumed          int
	Opened, Failed, Denied, Limited uint64
	Malformed                       uint64 // carriers ended for what the peer sent
	BufferedBytes                   int64
	Carriers, Reverse, Idle         int            // links on which the client, the server opens; of them idle
	List                            []StreamStatus // the most active first, at most streamListMax
	ListTotal                       int
}

const streamListMax = 100

func (l *lane) status(now time.Time) LaneStatus {
	n := l.pool.counts()
	st := LaneStatus{
		Waiting: n.waiting, Idle: n.idle, Opened: l.count.opened.Load(), Failed: l.count.failed.Load(),
		Denied: l.count.denied.Load(), Limited: l.count.limited.Load(), Malformed: l.count.malformed.Load(), Resumed: int(l.count.resumed.Load()),
	}
	st.Carriers, st.Reverse = n.idle+n.leased, l.reverseCount(n.idle+n.leased)
	if l.reverse {
		st.Carriers, st.Reverse = st.Reverse, st.Carriers
	}
	all := l.all()
	st.ListTotal = len(all)
	// Of all streams no more than it takes to choose from them.
	list := make([]activeStream, 0, len(all))
	for _, s := range all {
		a := activeStream{laneStream: s, stats: s.relay.Stats()}
		a.rxBps, a.txBps = s.meter.rates()
		st.BufferedBytes += int64(a.stats.Buffered)
		st.Resumed += a.stats.Resumed
		if a.stats.Open {
			st.Open++
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b activeStream) int {
		if c := cmp.Compare(b.rxBps+b.txBps, a.rxBps+a.txBps); c != 0 {
			return c
		}
		return b.began.Compare(a.began)
	})
	for i := range list[:min(len(list), streamListMax)] {
		st.List = append(st.List, list[i].status(now))
	}
	return st
}

// activeStream is a stream with how active it is.
type activeStream struct {
	*laneStream
	stats        relay.Stats
	rxBps, txBps float64
}

func (s *activeStream) status(now time.Time) StreamStatus {
	t := &s.stats
	item := StreamStatus{
		RxBps: s.rxBps, TxBps: s.txBps, Uplinks: s.meter.uplinks(),
		Source: s.open.Source, Destination: s.open.Destination, Outbound: s.out, Age: now.Sub(s.began),
		RxBytes: t.ReceivedBytes, TxBytes: t.SentBytes, Resumed: t.Resumed, State: StreamOpen,
	}
	switch {
	case !t.Open:
		item.State = StreamConnecting
	case t.Detached:
		item.State = StreamResuming
	}
	if k, ok := s.relay.Link().(*link); ok {
		item.Carrier = k.number
	}
	return item
}

// streamMeter follows what a stream does, and over which uplinks.
type streamMeter struct {
	at     time.Time
	rx, tx uint64
	link   *link
	last   map[subflowKey]Subflow

	mu           sync.Mutex // guards what follows
	rxBps, txBps float64
	shares       map[string]*UplinkShare
}

// sample takes the stream's counters, and its link with its last sample.
func (m *streamMeter) sample(t relay.Stats, k *link, now time.Time) {
	if t.ReceivedBytes == m.rx && t.SentBytes == m.tx && m.idle() {
		m.at = now
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if elapsed := now.Sub(m.at); !m.at.IsZero() && elapsed > 0 {
		w := min(float64(elapsed)/float64(usageWindow), 1)
		m.rxBps += w * (float64(t.ReceivedBytes-m.rx)*8/elapsed.Seconds() - m.rxBps)
		m.txBps += w * (float64(t.SentBytes-m.tx)*8/elapsed.Seconds() - m.txBps)
	}
	m.at, m.rx, m.tx = now, t.ReceivedBytes, t.SentBytes
	if m.link != k { // what it carried before was another's
		m.link, m.last = k, nil
	}
	seen := make(map[subflowKey]Subflow, len(k.sampled.list))
	for _, f := range k.sampled.list {
		key := subflowKey{f.Local, f.Remote}
		seen[key] = f
		was, known := m.last[key]
		if m.last == nil || !known {
			continue
		}
		name := f.uplinkName()
		if m.shares == nil {
			m.shares = map[string]*UplinkShare{}
		}
		if m.shares[name] == nil {
			m.shares[name] = &UplinkShare{Uplink: name}
		}
		m.shares[name].RxBytes += f.RxBytes - min(was.RxBytes, f.RxBytes)
		m.shares[name].TxBytes += f.TxBytes - min(was.TxBytes, f.TxBytes)
	}
	m.last = seen
}

// idle reports whether the rates have faded.
func (m *streamMeter) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rxBps+m.txBps < 1
}

func (m *streamMeter) rates() (rxBps, txBps float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rxBps, m.txBps
}

// uplinks is what each uplink carried so far, by name.
func (m *streamMeter) uplinks() (shares []UplinkShare) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shares {
		shares = append(shares, *s)
	}
	slices.SortFunc(shares, func(a, b UplinkShare) int { return strings.Compare(a.Uplink, b.Uplink) })
	return shares
}
