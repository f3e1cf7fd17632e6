package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/topology"
)

// What can happen to an uplink.
const (
	flapBlack   = "black hole"
	flapCarrier = "carrier"
	flapLoss    = "loss burst"
	flapRate    = "rate"
	flapAddress = "address"
	flapRemoved = "interface removed"
)

// gentleFlaps leave an address and its interface, so that a TCP connection of
// any program outlives them.
var gentleFlaps = []string{flapBlack, flapBlack, flapCarrier, flapLoss, flapRate}

var allFlaps = append(slices.Clone(gentleFlaps), flapAddress, flapAddress, flapRemoved)

// flapStep is one deed of the plan.
type flapStep struct {
	at     time.Duration // since the beginning
	uplink string
	what   string
	on     bool    // it begins, or ends
	value  float64 // of a rate its factor, of a loss its share, of an address the host number
}

func (s flapStep) String() string {
	text := fmt.Sprintf("%7.2fs %s: ", s.at.Seconds(), s.uplink)
	if !s.on {
		return text + "no " + s.what
	}
	return text + s.what + map[string]string{
		flapLoss:    fmt.Sprintf(" %.0f %%", 100*s.value),
		flapRate:    fmt.Sprintf(" × %.2f", s.value),
		flapAddress: fmt.Sprintf(" %.0f", s.value),
	}[s.what]
}

const (
	flapPause  = 4 * time.Second // at most, between two events of an uplink
	flapLength = 6 * time.Second // at most, of one
	flapRest   = 100 * time.Millisecond
)

// planFlaps draws what happens to each uplink within a time: the same for the
// same seed. What happens to one uplink is over before the next begins, and all
// is over at the end.
func planFlaps(seed uint64, length time.Duration, kinds map[string][]string) []flapStep {
	var plan []flapStep
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names) // the order of a map is not that of the seed
	for i, name := range names {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		upTo := func(d time.Duration) time.Duration { return flapRest + time.Duration(random.Int64N(int64(d))) }
		host := 2
		for at := upTo(flapPause); ; at += upTo(flapPause) {
			what, lasts := kinds[name][random.IntN(len(kinds[name]))], upTo(flapLength)
			end := at + lasts
			if end > length {
				break
			}
			add := func(at time.Duration, on bool, value float64) {
				plan = append(plan, flapStep{at, name, what, on, value})
			}
			switch what {
			case flapAddress: // it stays
				host = 3 + (host-2)%200
				add(at, true, float64(host))
				end = at
			case flapCarrier: // off and on, as a loose plug
				for on := at; on < end; on += upTo(time.Second) {
					off := on + upTo(time.Second)
					add(on, true, 0)
					add(min(off, end), false, 0)
					on = off
				}
			case flapLoss:
				add(at, true, 0.02+0.28*random.Float64())
				add(end, false, 0)
			case flapRate:
				add(at, true, 0.05+0.6*random.Float64())
				add(end, false, 0)
			default:
				add(at, true, 0)
				add(end, false, 0)
			}
			at = end
		}
	}
	slices.SortStableFunc(plan, func(a, b flapStep) int { return cmp.Compare(a.at, b.at) })
	return plan
}

// flap does a step. The shapes are those of the uplinks when nothing happens.
func flap(n *topology.Net, s flapStep, shapes map[string]topology.Uplink) error {
	link := n.Links[s.uplink]
	shape := func(change func(*emulator.Shape)) error {
		down, up := shapes[s.uplink].Down, shapes[s.uplink].Up
		if s.on {
			change(&down)
			change(&up)
		}
		return cmp.Or(link.SetShape(lab.BToA, down), link.SetShape(lab.AToB, up))
	}
	switch s.what {
	case flapBlack:
		return link.SetBlackHole(s.on)
	case flapCarrier:
		return link.SetCarrier(!s.on)
	case flapLoss:
		return shape(func(x *emulator.Shape) { x.Loss = emulator.BurstLoss(s.value, 8) })
	case flapRate:
		return shape(func(x *emulator.Shape) { x.Rate = emulator.BitRate(float64(x.Rate) * s.value) })
	case flapAddress:
		return n.ChangeAddress(s.uplink, byte(s.value))
	case flapRemoved:
		if s.on {
			return n.RemoveUplink(s.uplink)
		}
		return n.RestoreUplink(s.uplink)
	}
	return fmt.Errorf("nothing is known of %q", s.what)
}

// A plan is the seed's, has all kinds, and leaves each uplink as it was.
func TestFlapPlan(t *testing.T) {
	kinds := map[string][]string{"dsl": gentleFlaps, "wwan": allFlaps}
	const length = 10 * time.Minute
	plan := planFlaps(7, length, kinds)
	if !slices.Equal(plan, planFlaps(7, length, kinds)) {
		t.Error("the same seed gave two plans")
	}
	if slices.Equal(plan, planFlaps(8, length, kinds)) {
		t.Error("two seeds gave the same plan")
	}
	seen, open := map[string]int{}, map[string]string{}
	last := time.Duration(0)
	address := 2.0
	for _, s := range plan {
		seen[s.uplink+" "+s.what]++
		if s.at < last || s.at > length {
			t.Errorf("%v comes after %v, in a plan of %v", s, last, length)
		}
		last = s.at
		if !slices.Contains(kinds[s.uplink], s.what) {
			t.Errorf("%v is none of its uplink's", s)
		}
		if s.what == flapAddress {
			if s.value == address || s.value < 2 || s.value > 254 {
				t.Errorf("%v changes %v", s, address)
			}
			address = s.value
		} else if s.on {
			if open[s.uplink] != "" {
				t.Errorf("%v begins within %s", s, open[s.uplink])
			}
			open[s.uplink] = s.what
			continue
		} else if open[s.uplink] != s.what {
			t.Errorf("%v ends what is %q", s, open[s.uplink])
		}
		if s.what == flapAddress && open[s.uplink] != "" {
			t.Errorf("%v within %s", s, open[s.uplink])
		}
		delete(open, s.uplink)
	}
	if len(open) > 0 {
		t.Errorf("at the end there is %v", open)
	}
	for name, list := range kinds {
		for _, what := range list {
			if seen[name+" "+what] == 0 {
				t.Errorf("%s has no %s in %d steps", name, what, len(plan))
			}
		}
	}
}
