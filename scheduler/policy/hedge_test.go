package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestBudget: over any window, copies have no more bytes than the share of the
// slower link's rate in that time, and a burst.
func TestBudget(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		share := []float64{0, 0.01, 0.05, 0.2}[seed%4]
		h := NewHedge(share)
		if share == 0 {
			share = DefaultShare
		}
		paths := cellA()
		paths[1].Rate = []float64{1e6, 30e6, 200e6}[seed%3]
		rate := min(paths[0].Rate, paths[1].Rate) * share / 8
		burst := max(rate*0.2, 3<<10)

		type sent struct {
			at    time.Duration
			bytes int
		}
		var list []sent
		for at := time.Duration(0); at < 20*time.Second; at += time.Duration(rng.IntN(4000)) * time.Microsecond {
			if rng.IntN(200) == 0 {
				at += time.Second
			}
			bytes := 60 + rng.IntN(1400)
			if h.Allow(epoch.Add(at), Copy(rng.IntN(2)), bytes, paths) {
				list = append(list, sent{at, bytes})
			}
		}
		// excess is of the window that ends now and has most, less its share.
		excess, last, total := 0.0, time.Duration(0), 0.0
		for _, s := range list {
			excess = max(0, excess-(s.at-last).Seconds()*rate) + float64(s.bytes)
			last = s.at
			total += float64(s.bytes)
			if excess > burst+1 {
				t.Fatalf("seed %d: %.0f bytes over the share at %v, burst is %.0f", seed, excess, s.at, burst)
			}
		}
		if total == 0 {
			t.Fatal("no copies at all")
		}
		c, a := h.Copies(AtOnce), h.Copies(Again)
		if c.Sent+a.Sent != uint64(len(list)) || c.Bytes+a.Bytes != uint64(total) {
			t.Fatalf("%+v and %+v of %d copies", c, a, len(list))
		}
	}
}

func TestBudgetBounds(t *testing.T) {
	paths := cellA()
	if NewHedge(-1).Allow(epoch, Again, 0, paths) {
		t.Error("a copy without a budget")
	}
	h := NewHedge(0)
	for h.Allow(epoch, AtOnce, 500, paths) {
	}
	if !h.Allow(epoch, Again, 500, paths) {
		t.Error("copies at once have taken all")
	}
	for h.Allow(epoch, Again, 500, paths) {
	}
	if h.Allow(epoch.Add(-time.Hour), Again, 500, paths) {
		t.Error("time that goes back fills the bucket")
	}
	if !h.Allow(epoch.Add(200*ms), Again, 30e6*0.05*0.2/8-1, paths) {
		t.Error("200 ms do not fill it")
	}
	h = NewHedge(0)
	if !h.Allow(epoch, AtOnce, 200, []Path{{ID: 1}, {ID: 2}}) {
		t.Error("no copies where no rate is known")
	}
	if c := h.Copies(AtOnce); c != (Copies{Sent: 1, Bytes: 200}) || AtOnce.String() != "at once" || Again.String() != "again" {
		t.Errorf("%+v", c)
	}
}

func TestLate(t *testing.T) {
	h := NewHedge(0)
	for _, test := range []struct {
		d    Delivery
		want time.Duration
	}{
		{Delivery{}, 100 * ms},
		{Delivery{30 * ms, 0}, 36 * ms},
		{Delivery{30 * ms, 5 * ms}, 45 * ms},
		{Delivery{400 * ms, 100 * ms}, 500 * ms},
		{Delivery{1 << 62, 1 << 62}, 500 * ms},
	} {
		if got := h.Late(test.d); got != test.want {
			t.Errorf("Late(%+v) = %v, want %v", test.d, got, test.want)
		}
	}
	d := Delivery{30 * ms, 5 * ms}
	for range 100 {
		h.Won(Again, false)
	}
	if got := h.Late(d); got != 70*ms {
		t.Errorf("after copies in vain: %v", got)
	}
	for range 100 {
		h.Won(Again, true)
	}
	if got := h.Late(d); got != 45*ms {
		t.Errorf("after useful ones: %v", got)
	}
	h.Won(AtOnce, true)
	if h.Copies(Again).Useful != 100 || h.Copies(AtOnce).Useful != 1 {
		t.Error("counts")
	}
}

func TestSecond(t *testing.T) {
	paths := append(cellA(), Path{ID: 3, RTT: 10 * ms, Standby: true})
	for _, test := range []struct {
		paths []Path
		first int
		want  int
		ok    bool
	}{
		{paths, 1, 2, true},
		{paths, 2, 1, true},
		{paths, 3, 1, true},
		{paths, 9, 1, true}, // it went on one that is gone
		{paths[1:], 2, 0, false},
		{nil, 1, 0, false},
	} {
		if id, ok := Second(test.paths, test.first); id != test.want || ok != test.ok {
			t.Errorf("Second(%v, %d) = %d, %v", test.paths, test.first, id, ok)
		}
	}
}

// TestDelivery: the estimate follows, and hardly any packet is late by it.
func TestDelivery(t *testing.T) {
	var d Delivery
	h := NewHedge(0)
	rng := rand.New(rand.NewPCG(4, 4))
	late := 0
	for i := range 10_000 {
		took := 30*ms + time.Duration(rng.ExpFloat64()*3e6)
		if i > 100 && took > h.Late(d) {
			late++
			h.Won(Again, false)
		}
		d.Took(took)
	}
	if late > 300 {
		t.Errorf("%d of 10000 are late", late)
	}
	for range 60 {
		d.Took(90 * ms)
	}
	if d.Smoothed < 85*ms || h.Late(d) < 90*ms {
		t.Errorf("%+v", d)
	}
	d.Took(-ms)
	d.Took(1 << 62)
	if d.Smoothed <= 0 || d.Variation < 0 {
		t.Errorf("%+v", d)
	}
}
