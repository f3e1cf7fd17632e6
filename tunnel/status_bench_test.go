package tunnel

import (
	"testing"

	"braid/tunnel/relay"
)

// What it costs to look at a client with 1,000 streams, as braid top does four
// times a second, here without what package cmd/braid makes of it
// (BenchmarkStatusEvent).
func BenchmarkStatusOfStreams(b *testing.B) {
	const streams = 1000
	f := newFakeStreams(func(c relay.Socket) { echo(c) })
	f.limits.PerSession, f.limits.Total, f.limits.NewPerSecond = streams, streams, streams
	w := newWorldOf(b, f)
	defer f.running.Wait()
	defer w.stop()
	c := w.home()
	for range streams {
		conn := f.open(w)
		defer conn.Close()
	}
	for i, s := range c.streams().all() { // a pipe has no counters of its uplinks
		s.meter.mu.Lock()
		s.meter.rxBps, s.meter.shares = float64(i), map[string]*UplinkShare{}
		for _, u := range []string{"dsl", "lte"} {
			s.meter.shares[u] = &UplinkShare{Uplink: u, RxBytes: uint64(i)}
		}
		s.meter.mu.Unlock()
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := c.Status().Streams; s.ListTotal != streams || len(s.List) != streamListMax {
			b.Fatalf("%d of %d streams", len(s.List), s.ListTotal)
		}
	}
}
