package tunnel

import (
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// A bound holds up what is bulk, and nothing that is sparse.
func TestBulkBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, func([]byte) {})
		defer l.close()
		p := l.newPath(false, func([]byte) error { return nil })
		p.attach(time.Now(), true, false)
		var bulk, sparse int // bytes, packets that left
		var longest time.Duration
		began := time.Now()
		writer := make(chan struct{})
		go func() { // as writeLoop does
			defer close(writer)
			for range p.ready {
				for p.backlog() {
					frames, _ := p.take(time.Now(), nil)
					for _, f := range frames {
						if len(f) < 500 {
							longest = max(longest, time.Since(began)-time.Duration(sparse)*20*time.Millisecond)
							sparse++
						} else {
							bulk += len(f)
						}
					}
					p.wrote()
				}
			}
		}()
		for range 200 { // which must not count against the bound
			l.push(time.Now(), []*parcel{newParcel(datagram(1400, false))})
			synctest.Wait()
		}
		const rate = 10e6
		bulk, began = 0, time.Now()
		p.limit(rate)
		for range 100 { // two seconds
			l.push(time.Now(), []*parcel{newParcel(datagram(188, true))})
			for range 40 { // 22 Mb/s
				l.push(time.Now(), []*parcel{newParcel(datagram(1400, false))})
			}
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		took := time.Since(began)
		if got := 8 * float64(bulk) / took.Seconds(); got < 0.95*rate || got > 1.05*rate {
			t.Errorf("%.2f Mb/s of %.0f", got/1e6, rate/1e6)
		}
		if sparse != 100 || longest > 2*time.Millisecond {
			t.Errorf("%d packets of the call left, after up to %v", sparse, longest)
		}
		p.limit(0)
		synctest.Wait()
		l.mu.Lock()
		if n := p.q.Len(); n != 0 {
			t.Errorf("%d wait without a bound", n)
		}
		l.mu.Unlock()
		p.detach(time.Now())
		close(p.ready)
		<-writer
	})
}
