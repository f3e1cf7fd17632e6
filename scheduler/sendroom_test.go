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
	in := SendRoomInput{Rate: rate, RTT: p.rtt, Dry: true}
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

// A bottleneck with a queue: what is in flight beyond what it carries waits
// there, and what cannot be in flight waits before it.
type bottleneck struct {
	capacity BitRate
	rtt      time.Duration // without the queue
	window   float64       // of congestion control, in round trips of that
	wobble   time.Duration // of the round trip, whatever is in flight
}

// step is half a second with so much room.
func (b bottleneck) step(room uint64) SendRoomInput {
	second := float64(b.capacity) / 8
	inFlight := min(float64(room), b.window*second*(b.rtt+b.wobble).Seconds())
	in := SendRoomInput{MinRTT: b.rtt, RTT: b.rtt + b.wobble}
	in.Rate = min(b.capacity, BitRate(8*inFlight/in.RTT.Seconds()))
	in.RTT = max(in.RTT, time.Duration(inFlight/second*1e9))
	unsent := float64(room) - inFlight
	in.Queue, in.Dry = time.Duration(8*unsent/float64(in.Rate)*1e9), unsent == 0
	return in
}

func TestSendRoomLeavesNoQueues(t *testing.T) {
	for _, rate := range []BitRate{5e6, 30e6, 80e6} {
		b := bottleneck{rate, 60 * time.Millisecond, 2, 0}
		var r SendRoom
		room := uint64(RoomMost)
		for range 20 {
			room, _ = r.Step(b.step(room))
		}
		in := b.step(room)
		need := uint64(float64(rate) / 8 * b.rtt.Seconds())
		if in.Rate < rate || room > 2*need+roomLeast {
			t.Errorf("%v: %v with room for %d, %d are needed", rate, in.Rate, room, need)
		}
		// An uplink dies: what is in the other's way is to be little at once.
		b.capacity *= 0.4
		in = b.step(room)
		in.Changed = true
		room, _ = r.Step(in)
		for range 3 {
			room, _ = r.Step(b.step(room))
			if most := 2*uint64(float64(b.capacity)/8*b.rtt.Seconds()) + roomLeast; room > most {
				t.Errorf("%v: room for %d after an uplink's death, %d are needed", rate, room, most)
			}
		}
	}
}

// Round trips that vary by themselves need room that the shortest of them does
// not tell of.
func TestSendRoomWithRoundTripsThatVary(t *testing.T) {
	for _, wobble := range []time.Duration{10, 30, 60, 100} {
		b := bottleneck{300e6, 40 * time.Millisecond, 2, wobble * time.Millisecond}
		var r SendRoom
		room := uint64(RoomMost)
		var sum BitRate
		const steps = 200
		for range steps {
			in := b.step(room)
			sum += in.Rate
			room, _ = r.Step(in)
		}
		if mean := sum / steps; mean < 0.9*b.capacity {
			t.Errorf("%v on average with a round trip of 40 to %v ms", mean, 40+int64(wobble))
		}
	}
}

func TestSendRoomWithLoss(t *testing.T) {
	b := bottleneck{80e6, 60 * time.Millisecond, 2, 0}
	var clean, lossy SendRoom
	rooms := [2]uint64{RoomMost, RoomMost}
	for range 20 {
		rooms[0], _ = clean.Step(b.step(rooms[0]))
		in := b.step(rooms[1])
		in.Lossy = true
		rooms[1], _ = lossy.Step(in)
	}
	if rooms[1] < 2*rooms[0] {
		t.Errorf("room for %d with loss, for %d without", rooms[1], rooms[0])
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
		{}, {Rate: -1, RTT: -1, MinRTT: -1, Queue: -1, Lossy: true},
		{Rate: 1e18, RTT: time.Hour, MinRTT: time.Hour, Queue: time.Hour},
		{Rate: 1e18, RTT: time.Hour, Queue: time.Hour, Lossy: true, Changed: true},
		{Rate: 1e18, RTT: time.Hour, Queue: time.Hour, Dry: true, Lossy: true},
		{Rate: 1, RTT: 1, MinRTT: time.Hour, Queue: time.Hour}, {Rate: 1, RTT: 1, Queue: time.Hour, Lossy: true},
		{Rate: 1e18, RTT: time.Hour, Far: time.Hour}, {Rate: 1, RTT: 1, Far: 1}, {Far: -1},
		{Rate: 1, RTT: time.Hour, MinRTT: 1, Queue: time.Hour}, {},
	} {
		if room, _ := r.Step(in); room < roomLeast || room > RoomFar {
			t.Errorf("%+v: room for %d", in, room)
		}
	}
}

// A path that carries little makes all others wait in its own time: there is room
// for that, and it is taken back when the path is no longer used.
func TestSendRoomForPathsFarAway(t *testing.T) {
	var r SendRoom
	step := func(far time.Duration) uint64 {
		room, _ := r.Step(SendRoomInput{Rate: 50e6, RTT: 40 * time.Millisecond, Far: far, Queue: 100 * time.Millisecond})
		return room
	}
	for range 10 {
		step(0)
	}
	if room := step(0); room >= RoomMost {
		t.Fatalf("room for %d", room)
	}
	for range 5 {
		if room := step(100 * time.Millisecond); room != RoomMost {
			t.Fatalf("one that carries little: room for %d", room)
		}
	}
	for range 5 {
		if room := step(1600 * time.Millisecond); room != RoomFar {
			t.Fatalf("far away: room for %d", room)
		}
	}
	if room := step(400 * time.Millisecond); room != RoomFar {
		t.Errorf("a little nearer: room for %d", room)
	}
	if room := step(0); room != RoomMost {
		t.Errorf("not used any more: room for %d", room)
	}
	for range 10 {
		step(0)
	}
	if room := step(0); room >= RoomMost {
		t.Errorf("steady: room for %d", room)
	}
}
