package scheduler

import (
	"testing"
	"time"
)

// pipe is a crude connection: what is in it is bounded by the room, what it
// carries by its rate.
type pipe struct {
	capacity BitRate
	rtt      time.Duration
	offered  BitRate
}

// step is half a second with so much room.
func (p pipe) step(room uint64) SendRoomInput {
	const overhead = 1.2
	payload := float64(room) / overhead
	possible := BitRate(8 * payload / p.rtt.Seconds())
	rate := min(p.capacity, p.offered, possible)
	in := SendRoomInput{Rate: rate, RTT: p.rtt, Far: p.rtt, Dry: true}
	if p.offered > rate {
		unsent := max(payload-float64(rate)/8*p.rtt.Seconds(), 0)
		in.Queue = time.Duration(8 * unsent / float64(rate) * 1e9)
		in.Dry = unsent == 0
	}
	return in
}

func TestSendRoomFollowsTheNetwork(t *testing.T) {
	for _, p := range []pipe{
		{80e6, 110 * time.Millisecond, 1e12},
		{80e6, 300 * time.Millisecond, 1e12},
		{20e6, 60 * time.Millisecond, 1e12},
		{1e6, 60 * time.Millisecond, 1e12},
		{2e6, time.Second, 1e12},
	} {
		var r SendRoom
		room := uint64(RoomMost)
		for i := range 100 {
			in := p.step(room)
			if i > 10 && in.Rate < 0.99*p.capacity {
				t.Fatalf("%v: step %d: %v with room for %d", p, i, in.Rate, room)
			}
			room, _ = r.Step(in)
		}
		need := float64(p.capacity) / 8 * p.rtt.Seconds()
		if most := 3*need + 400e3; float64(room) > most {
			t.Errorf("%v: room for %d bytes, should be less than %.0f", p, room, most)
		}
		// The rate doubles.
		p.capacity *= 2
		for range 10 {
			room, _ = r.Step(p.step(room))
		}
		if in := p.step(room); in.Rate < 0.99*p.capacity {
			t.Errorf("%v: only %v after the rate doubled", p, in.Rate)
		}
	}
}

func TestSendRoomIsFreeForWhoSendsLittle(t *testing.T) {
	var r SendRoom
	p := pipe{80e6, 110 * time.Millisecond, 10e6}
	for range 100 {
		if room, changed := r.Step(p.step(RoomMost)); changed || room != RoomMost {
			t.Fatalf("room for %d", room)
		}
	}
	// It sends much, and then little again.
	p.offered = 1e12
	room := uint64(RoomMost)
	for range 20 {
		room, _ = r.Step(p.step(room))
	}
	if room == RoomMost {
		t.Fatal("no bound for a steady transfer")
	}
	p.offered = 1e6
	for range 10 {
		room, _ = r.Step(p.step(room))
	}
	if room != RoomMost {
		t.Errorf("room for %d when nothing waits", room)
	}
}

func TestSendRoomIsFreeInALocalNetwork(t *testing.T) {
	var r SendRoom
	p := pipe{1e9, time.Millisecond, 1e12}
	for range 10 {
		if room, changed := r.Step(p.step(RoomMost)); changed || room != RoomMost {
			t.Fatalf("room for %d", room)
		}
	}
}

func TestSendRoomReset(t *testing.T) {
	var r SendRoom
	if _, changed := r.Reset(); changed {
		t.Error("nothing had changed")
	}
	p := pipe{80e6, 110 * time.Millisecond, 1e12}
	for range 10 {
		r.Step(p.step(RoomMost))
	}
	if room, changed := r.Reset(); !changed || room != RoomMost {
		t.Errorf("room for %d, changed %v", room, changed)
	}
}

func TestSendRoomWithStrangeInput(t *testing.T) {
	var r SendRoom
	for _, in := range []SendRoomInput{
		{}, {-1, -1, -1, -1, false, true},
		{1e18, time.Hour, time.Hour, time.Hour, false, false}, {1e18, time.Hour, time.Hour, time.Hour, false, true},
		{1e18, time.Hour, 0, time.Hour, false, false}, {1e18, time.Hour, 0, time.Hour, true, true},
		{1, 1, 1, time.Hour, false, false}, {1, 1, 1, time.Hour, false, true}, {1, 1, 1, time.Hour, false, false}, {},
	} {
		if room, _ := r.Step(in); room < roomLeast || room > RoomFar {
			t.Errorf("%+v: room for %d", in, room)
		}
	}
}

// A path that carries little, but is far away, makes all others wait: there is
// room for that, and it is taken back when the path is no longer used.
func TestSendRoomForPathsFarAway(t *testing.T) {
	var r SendRoom
	step := func(far time.Duration) uint64 {
		room, _ := r.Step(SendRoomInput{Rate: 50e6, RTT: 40 * time.Millisecond, Far: far, Queue: 100 * time.Millisecond})
		return room
	}
	for range 10 {
		step(40 * time.Millisecond)
	}
	if room := step(60 * time.Millisecond); room >= RoomMost {
		t.Fatalf("room for %d", room)
	}
	for range 5 {
		if room := step(1600 * time.Millisecond); room != RoomFar {
			t.Fatalf("far away: room for %d", room)
		}
	}
	if room := step(400 * time.Millisecond); room != RoomFar {
		t.Errorf("a little nearer: room for %d", room)
	}
	if room := step(60 * time.Millisecond); room != RoomMost {
		t.Errorf("near: room for %d", room)
	}
	for range 10 {
		step(60 * time.Millisecond)
	}
	if room := step(60 * time.Millisecond); room >= RoomMost {
		t.Errorf("steady: room for %d", room)
	}
}
