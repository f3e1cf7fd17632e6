package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

const (
	// trialBegins is how long the server's first word may take.
	trialBegins = 10 * time.Second
	// trialDrains is how long what is under way at the end may take to arrive. On a
	// slow uplink it would take longer, and is dropped.
	trialDrains = 2 * time.Second
	// trialSettles of a measurement are not counted among round trips: slow start
	// fills queues as nothing else does.
	trialSettles = time.Second
	// trialSample is how far apart samples are at least.
	trialSample = 20 * time.Millisecond
)

// trial is one measurement on its own link. Two goroutines serve it, which end with
// the link: read, and send when this end sends.
type trial struct {
	link  *link
	up    bool
	begun chan struct{} // closed when the server is ready
	over  chan struct{} // closed when read has ended

	mu      sync.Mutex // guards what follows
	began   time.Time
	length  time.Duration
	samples []scheduler.SpeedSample
	bytes   uint64
	tally   wire.Tally // the last
	fin     bool       // all has arrived that was sent
	err     error      // what ended read

	// Of the caller of look:
	shares  []trialShare
	last    map[subflowKey]Subflow
	has     map[subflowKey]uint64 // units
	moved   map[string]uint64     // bytes by uplink, of this direction
	lines   trialHeaders
	arrived []scheduler.SpeedSample // in units
	units   uint64                  // in all, see unitsOf
}

// trialShare is what the uplinks had moved at a time.
type trialShare struct {
	at    time.Duration
	moved map[string]uint64
}

// trialHeaders is how much larger than its payload a transfer is.
type trialHeaders struct{ bytes, headers uint64 }

func newTrial(k *link, up bool) *trial {
	return &trial{
		link: k, up: up, begun: make(chan struct{}), over: make(chan struct{}),
		last: map[subflowKey]Subflow{}, has: map[subflowKey]uint64{}, moved: map[string]uint64{},
	}
}

// transfer runs a trial and takes its figures; its link is closed then.
func (t *speedRun) transfer(ctx context.Context, r *trial) (SpeedWay, error) {
	var both sync.WaitGroup
	defer both.Wait()
	defer r.link.Abort()
	r.length = t.step.For
	if err := r.link.WriteFrames(wire.Test{Up: r.up, For: r.length}.Append(nil)); err != nil {
		return SpeedWay{}, err
	}
	both.Go(r.read)
	select {
	case <-r.begun:
	case <-r.over:
		return SpeedWay{}, r.failure()
	case <-time.After(trialBegins):
		return SpeedWay{}, errSilent
	case <-ctx.Done():
		return SpeedWay{}, ctx.Err()
	}
	if r.up {
		both.Go(r.send)
	}
	before := t.c.others(t.lane, r.link, r.up)
	began := r.began // it does not change any more
	err := t.each(ctx, func() bool {
		r.look()
		t.tell(began, r.rate())
		t.result.Calls = t.result.Calls || t.c.calm.active(time.Now())
		return time.Since(began) >= r.length || r.ended()
	})
	if err != nil {
		return SpeedWay{}, err
	}
	took := time.Since(began)
	others := scheduler.BitRate(8 * float64(grown(before, t.c.others(t.lane, r.link, r.up))) / took.Seconds())
	if r.up {
		t.result.Others.Tx = max(t.result.Others.Tx, others)
	} else {
		t.result.Others.Rx = max(t.result.Others.Rx, others)
	}
	err = t.each(ctx, func() bool { return r.ended() || time.Since(began) >= r.length+trialDrains })
	if err != nil {
		return SpeedWay{}, err
	}
	r.look()
	way, err := r.figures()
	way.Loaded = t.c.speed.beats.since(began.Add(min(trialSettles, r.length/2)), began.Add(r.length))
	rest := time.Now()
	_ = t.each(ctx, func() bool { return time.Since(rest) >= speedRest })
	return way, err
}

// read takes what the server sends until the link ends.
func (r *trial) read() {
	defer close(r.over)
	for {
		typ, p, err := r.link.ReadFrame()
		if err == nil {
			err = r.take(typ, p)
		}
		if err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.err = err
			return
		}
	}
}

// take takes one frame.
func (r *trial) take(typ wire.Type, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready := !r.began.IsZero()
	switch {
	case typ == wire.TypeTally:
		y, err := wire.ParseTally(p)
		if err != nil {
			return err
		}
		if !ready {
			r.began = time.Now()
			close(r.begun)
		}
		if r.up && y.Bytes > r.bytes {
			r.bytes = y.Bytes
			r.sampleLocked(y.At)
		}
		r.tally = y
	case typ == wire.TypeData && ready && !r.up && !r.fin:
		r.bytes += uint64(len(p))
		r.sampleLocked(time.Since(r.began))
	case typ == wire.TypeFin && ready && !r.up && !r.fin:
		r.fin = true
	case typ == wire.TypeReset:
		n, err := wire.ParseNotice(p)
		if err != nil {
			return err
		}
		return &SpeedRefusedError{n.Reason}
	default:
		return fmt.Errorf("%w frame order: %v in a speed test", wire.ErrMalformed, typ)
	}
	return nil
}

// sampleLocked notes the bytes of now, while the measurement lasts.
func (r *trial) sampleLocked(at time.Duration) {
	if time.Since(r.began) > r.length {
		return
	}
	if n := len(r.samples); n == 0 || at-r.samples[n-1].At >= trialSample {
		r.samples = append(r.samples, scheduler.SpeedSample{At: at, Bytes: r.bytes})
	}
}

// send sends for as long as the measurement lasts, and then Fin.
func (r *trial) send() {
	var sent uint64
	for b := newBlast(); time.Since(r.began) < r.length; {
		frames := b.next()
		if r.link.WriteFrames(frames) != nil {
			return // who reads sees it, too
		}
		sent += uint64(len(frames) / blastFrame * blastBytes)
	}
	if r.link.WriteFrames(wire.AppendFin(nil)) != nil {
		return
	}
	for {
		select {
		case <-r.over:
			return
		case <-time.After(speedTick):
		}
		r.mu.Lock()
		r.fin = r.bytes >= sent
		done := r.fin
		r.mu.Unlock()
		if done {
			return
		}
	}
}

// ended reports whether nothing more will come.
func (r *trial) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fin || r.err != nil
}

// failure is what ended read.
func (r *trial) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// rate is that of the last second, for who watches.
func (r *trial) rate() scheduler.BitRate {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.samples)
	if n < 2 {
		return 0
	}
	last := r.samples[n-1]
	i := slices.IndexFunc(r.samples, func(s scheduler.SpeedSample) bool { return last.At-s.At <= time.Second })
	first := r.samples[min(i, n-2)]
	return scheduler.BitRate(8 * float64(last.Bytes-first.Bytes) / (last.At - first.At).Seconds())
}

// unitsOf counts what has come at the receiver's kernel by a subflow, whether or not
// it is in order: a lost segment, or an uplink that is behind, holds up what has come
// after it, and all of that would seem to come at once. Down they are segments, which
// are of one size in a transfer; up they are bytes, as calm counts them.
func (r *trial) unitsOf(f Subflow) uint64 {
	if r.up {
		return f.AckedBytes + f.SackedBytes
	}
	return f.RxDataSegments
}

// look reads what each uplink has moved.
func (r *trial) look() {
	list, err := r.link.conn.AppendSubflows(nil)
	if err != nil {
		return
	}
	at := time.Since(r.began)
	for _, f := range list {
		key := subflowKey{f.Local, f.Remote}
		was := r.last[key]
		r.last[key] = f
		has := r.unitsOf(f)
		r.units += grown(r.has[key], has)
		r.has[key] = max(r.has[key], has)
		moved, segments := f.RxBytes-min(was.RxBytes, f.RxBytes), f.RxDataSegments-min(was.RxDataSegments, f.RxDataSegments)
		if r.up {
			moved, segments = f.AckedBytes-min(was.AckedBytes, f.AckedBytes), f.TxDataSegments-min(was.TxDataSegments, f.TxDataSegments)
		}
		r.moved[f.uplinkName()] += moved
		r.lines.bytes += moved
		r.lines.headers += segments * segmentHeaders(f)
	}
	moved := make(map[string]uint64, len(r.moved))
	for name, n := range r.moved {
		moved[name] = n
	}
	r.shares = append(r.shares, trialShare{at, moved})
	if at <= r.length {
		r.arrived = append(r.arrived, scheduler.SpeedSample{At: at, Bytes: r.units})
	}
}

// segmentHeaders is what IP, TCP with timestamps and Multipath TCP's data sequence
// signal put before a full segment, bytes (RFC 8684, section 3.3).
func segmentHeaders(f Subflow) uint64 {
	if f.Local.Addr().Unmap().Is6() {
		return 40 + 20 + 12 + 20
	}
	return 20 + 20 + 12 + 20
}

// recordHeaders of recordBytes are what TLS puts around them, and what frames do.
const (
	recordBytes   = 16 << 10
	recordHeaders = 5 + 1 + 16 + recordBytes/blastBytes*wire.HeaderLen
)

// errNothingCame ends a measurement in which nothing did.
var errNothingCame = errors.New("nothing came through")

// figures is what the trial found.
func (r *trial) figures() (way SpeedWay, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	way.Bytes = r.bytes
	samples := r.samples
	rate, first, last := scheduler.Steady(samples)
	if of := r.payloadOfUnit(); of > 0 {
		samples = r.arrived
		rate, first, last = scheduler.Steady(samples)
		rate *= scheduler.BitRate(of)
	}
	if rate == 0 {
		if r.err != nil {
			return way, r.err
		}
		return way, errNothingCame
	}
	way.Rate, way.Line = rate, rate*(recordBytes+recordHeaders)/recordBytes
	if r.lines.bytes > 0 {
		way.Line *= scheduler.BitRate(1 + float64(r.lines.headers)/float64(r.lines.bytes))
	}
	way.Parts = r.parts(rate, samples[first].At, samples[last].At)
	segments, again := r.tally.Segments, r.tally.Again
	if r.up {
		segments, again = 0, 0
		for _, f := range r.last {
			segments += f.TxSegments
			again += f.Retransmission
		}
	}
	if segments > 0 {
		way.Lost = min(1, float64(again)/float64(segments))
	}
	if r.err != nil && samples[last].At < r.length/2 {
		return way, r.err
	}
	return way, nil
}

// payloadOfUnit is how many bytes of payload come by a unit; 0 where units are not
// known.
func (r *trial) payloadOfUnit() float64 {
	switch {
	case r.units == 0 || r.bytes == 0:
		return 0
	case r.fin: // all that was sent is there
		return float64(r.bytes) / float64(r.units)
	case r.up:
		return recordBytes / float64(recordBytes+recordHeaders)
	}
	return float64(r.lines.bytes) / float64(r.units) * recordBytes / (recordBytes + recordHeaders)
}

// parts divides a rate by what each uplink moved between two times.
func (r *trial) parts(rate scheduler.BitRate, from, to time.Duration) map[string]scheduler.BitRate {
	at := func(when time.Duration) map[string]uint64 {
		i := slices.IndexFunc(r.shares, func(s trialShare) bool { return s.at >= when })
		if i < 0 {
			i = len(r.shares) - 1
		}
		return r.shares[i].moved
	}
	if len(r.shares) == 0 {
		return nil
	}
	before, after := at(from), at(to)
	var total uint64
	for name, n := range after {
		total += n - before[name]
	}
	parts := map[string]scheduler.BitRate{}
	for name, n := range after {
		if moved := n - before[name]; moved > 0 {
			parts[name] = rate * scheduler.BitRate(moved) / scheduler.BitRate(total)
		}
	}
	return parts
}
