package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestDelivery(t *testing.T) {
	type run struct {
		length time.Duration
		every  time.Duration // between two calls
		rate   BitRate
	}
	const half, second = 500 * time.Millisecond, time.Second
	for name, test := range map[string]struct {
		runs  []run
		later time.Duration // when it is asked, after the last
		want  BitRate
	}{
		"nothing":               {nil, 0, 0},
		"one look":              {[]run{{half, half, 8e6}}, 0, 0},
		"steady":                {[]run{{10 * second, half, 48e6}}, 0, 48e6},
		"idle looks":            {[]run{{30 * second, 3 * second, 8e6}}, 0, 8e6},
		"a burst of a second":   {[]run{{10 * second, half, 0}, {second, half, 80e6}, {5 * second, half, 0}}, 0, 40e6},
		"less is asked for":     {[]run{{10 * second, half, 48e6}, {5 * time.Minute, half, 1e6}}, 0, 48e6},
		"more than before":      {[]run{{10 * second, half, 10e6}, {10 * second, half, 30e6}}, 0, 30e6},
		"less for long":         {[]run{{10 * second, half, 48e6}, {11 * time.Minute, half, 1e6}}, 0, 1e6},
		"idle, and asked early": {[]run{{10 * second, half, 48e6}}, 8 * time.Minute, 48e6},
		"idle, and asked late":  {[]run{{10 * second, half, 48e6}}, 11 * time.Minute, 0},
		"the process stood":     {[]run{{10 * second, half, 48e6}, {20 * time.Minute, 20 * time.Minute, 0}}, 0, 0},
	} {
		var d Delivery
		now, bytes := epoch, 0.0
		d.Add(now, 0)
		for _, r := range test.runs {
			for end := now.Add(r.length); now.Before(end); {
				now = now.Add(r.every)
				bytes += float64(r.rate) / 8 * r.every.Seconds()
				d.Add(now, uint64(bytes))
			}
		}
		got := d.Most(now.Add(test.later))
		if got < test.want*0.999 || got > test.want*1.001 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A counter that begins anew is no delivery, and no clock makes one.
func TestDeliveryOfOddCounters(t *testing.T) {
	var d Delivery
	d.Add(epoch, 1<<40)
	d.Add(epoch.Add(2*time.Second), 1000)
	d.Add(epoch.Add(time.Second), 1_000_000)
	d.Add(epoch.Add(3*time.Second), 1_001_000)
	if most := d.Most(epoch.Add(3 * time.Second)); most != 4000 {
		t.Errorf("%v bit/s, want 4000", float64(most))
	}
}

// Whatever is delivered when, and whenever it is looked at: never more is said
// than went by in the best moment.
func TestDeliveryIsNeverMoreThanThere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var d Delivery
		now, total, top := epoch, uint64(0), 0.0
		for range 2000 {
			elapsed := time.Duration(1 + r.IntN(int(3*time.Second)))
			bytes := uint64(r.IntN(10_000_000))
			now, total = now.Add(elapsed), total+bytes
			top = max(top, 8*float64(bytes)/elapsed.Seconds())
			d.Add(now, total)
			if most := float64(d.Most(now)); most > top*1.000001 {
				t.Fatalf("%v, and never more than %v went by", most, top)
			}
		}
	}
}
