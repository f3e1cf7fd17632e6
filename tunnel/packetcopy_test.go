package tunnel

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"braid/scheduler/policy"
	"braid/tunnel/wire"
)

// hear gives a path the peer's word.
func hear(t *testing.T, p *packetPath, a wire.Arrived) {
	t.Helper()
	if err := p.arrived(a.Append(nil)[wire.HeaderLen:]); err != nil {
		t.Fatal(err)
	}
}

// What the peer is late to speak of is sent again on the other path, by what the
// path is known to need, and once.
func TestLatePacketsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := ruled(t, nil)
		defer l.close()
		var has wire.Arrived
		for i := range 50 { // 30 ms each, steadily
			l.push(time.Now(), []*parcel{newParcel(thick("10.77.0.2", "198.51.100.7", i))})
			if n := sent(time.Now(), a); n != 1 {
				t.Fatalf("packet %d: %d on the first path", i, n)
			}
			time.Sleep(30 * time.Millisecond)
			has.Packets++
			hear(t, a, has)
		}
		if n := sent(time.Now(), b); n != 0 {
			t.Fatalf("%d copies of what was not late", n)
		}
		l.push(time.Now(), []*parcel{newParcel(thick("10.77.0.2", "198.51.100.7", 50))})
		sent(time.Now(), a)
		time.Sleep(29 * time.Millisecond)
		synctest.Wait()
		if b.backlog() {
			t.Error("a copy before an answer could have come")
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if n := sent(time.Now(), b); n != 1 {
			t.Fatalf("%d copies", n)
		}
		time.Sleep(time.Second)
		if synctest.Wait(); b.backlog() || a.backlog() {
			t.Error("it is sent a third time")
		}
		hear(t, b, wire.Arrived{Packets: 1, Again: 1})
		s := l.status()
		if s.Again.Sent != 1 || s.Again.Useful != 1 || s.Saved != 1 || s.Again.Bytes < 500 {
			t.Errorf("%+v", s)
		}
		has.Packets++
		has.Behind++
		hear(t, a, has) // it was only late
		if s := l.status(); s.Again.Useful != 1 || s.Saved != 0 {
			t.Errorf("%+v", s)
		}
		if !l.lateAt.IsZero() {
			t.Error("the timer runs for nothing")
		}
	})
}

// Copies of what is late have a budget, too.
func TestLateCopiesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := ruled(t, nil)
		defer l.close()
		for i := range 60 { // nobody answers
			l.push(time.Now(), []*parcel{newParcel(thick("10.77.0.2", "198.51.100.7", i))})
			sent(time.Now(), a)
			time.Sleep(15 * time.Millisecond)
		}
		synctest.Wait()
		s := l.status().Again
		if n := uint64(sent(time.Now(), b)); s.Sent+n == 0 || s.Sent+n > 30 || l.status().Again.Refused == 0 {
			t.Errorf("%d copies, %+v", n, l.status().Again)
		}
	})
}

// A peer cannot say that copies came that were not sent, nor take back its word.
func TestWordOnCopiesIsChecked(t *testing.T) {
	l, a, b := ruled(t, nil)
	now := time.Now()
	for i := range 3 { // with copies
		l.push(now, []*parcel{newParcel(numbered("10.77.0.2", "198.51.100.7", i))})
	}
	sent(now, a)
	sent(now, b)
	for i, x := range []struct {
		p    *packetPath
		word wire.Arrived
		ok   bool
	}{
		{b, wire.Arrived{Packets: 3, AtOnce: 4}, false},
		{b, wire.Arrived{Packets: 3, Again: 1}, false},
		{b, wire.Arrived{Packets: 3, Behind: 1}, false},
		{b, wire.Arrived{Packets: 3, AtOnce: 1 << 63}, false},
		{b, wire.Arrived{Packets: 3, AtOnce: 2}, true},
		{b, wire.Arrived{Packets: 3, AtOnce: 1}, false},
		{a, wire.Arrived{Packets: 3, AtOnce: 1}, false},
		{a, wire.Arrived{Packets: 3, Behind: 2}, true},
		{a, wire.Arrived{Packets: 3, Behind: 1}, false},
		{a, wire.Arrived{Packets: 3, Behind: 4}, false},
	} {
		err := x.p.arrived(x.word.Append(nil)[wire.HeaderLen:])
		if (err == nil) != x.ok || err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("word %d: %v", i, err)
		}
	}
	if s := l.status(); s.AtOnce.Sent != 3 || s.AtOnce.Useful != 2 || s.Saved != 0 {
		t.Errorf("%+v", s)
	}
	if n := l.policies.Hedge().Copies(policy.AtOnce); n.Useful != 2 {
		t.Errorf("%+v", n)
	}
}

// The word on a sparse packet comes at once after a pause, and not often; that on
// bulk waits for more.
func TestWhenThePeerIsTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		head  wire.PacketHead
		pause time.Duration
		want  int // words in a second of packets
		first time.Duration
	}{
		{"a call", wire.PacketHead{}, 20 * time.Millisecond, 50, 0},
		{"sparse and many", wire.PacketHead{}, time.Millisecond, 67, 0},
		{"bulk", wire.PacketHead{Bulk: true}, time.Millisecond, 30, arrivedEvery},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, words, first := time.Now(), 0, time.Duration(-1)
				a := arrivals{say: func([]byte) error {
					if words++; first < 0 {
						first = time.Since(start)
					}
					return nil
				}}
				for time.Since(start) < time.Second {
					a.note(time.Now(), &tt.head, true)
					time.Sleep(tt.pause)
				}
				time.Sleep(time.Minute)
				a.end()
				if words < tt.want-2 || words > tt.want+2 || first != tt.first {
					t.Errorf("%d words, the first after %v", words, first)
				}
			})
		})
	}
}
