package policy

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/scheduler/queue"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// key is that of flow n.
func key(n int) queue.FlowKey {
	return queue.FlowKey{Protocol: 17, Kind: 4, SrcPort: uint16(n), DstPort: 443}
}

func call(n int) Packet { return Packet{Key: key(n), Class: queue.Sparse, Bytes: 210} }
func bulk(n int) Packet { return Packet{Key: key(n), Class: queue.Bulk, Bytes: 1510} }

// cellA is DSL and LTE.
func cellA() []Path {
	return []Path{
		{ID: 1, RTT: 30 * ms, Variation: ms, Rate: 50e6},
		{ID: 2, RTT: 60 * ms, Variation: 2 * ms, Rate: 30e6},
	}
}

func newPolicy(t testing.TB, name string) Policy {
	t.Helper()
	p, err := New(name, maphash.MakeSeed())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNew(t *testing.T) {
	want := []string{"auto", "redundant", "weighted", "roundrobin", "minrtt", "ecf"}
	if !slices.Equal(Names(), want) {
		t.Fatal(Names())
	}
	for _, name := range want {
		newPolicy(t, name)
		if Spreads(name) != (name == "ecf" || name == "roundrobin") {
			t.Errorf("Spreads(%s)", name)
		}
	}
	if _, err := New("blest", maphash.MakeSeed()); err == nil || !strings.Contains(err.Error(), strings.Join(want, ", ")) {
		t.Fatal(err)
	}
	if Spreads("") {
		t.Fatal("no policy spreads")
	}
}

// TestPick is the first packet of a flow.
func TestPick(t *testing.T) {
	paths := func(change ...func(p []Path)) []Path {
		p := cellA()
		for _, c := range change {
			c(p)
		}
		return p
	}
	queued := func(i, bytes int) func([]Path) { return func(p []Path) { p[i].Queued = bytes } }
	standby := func(i int) func([]Path) { return func(p []Path) { p[i].Standby = true } }
	unknown := func(i int) func([]Path) { return func(p []Path) { p[i] = Path{ID: p[i].ID} } }
	lossy := func(i int) func([]Path) { return func(p []Path) { p[i].Loss = 0.3 } }
	big := call(1)
	big.Bytes = 1300
	ef := big
	ef.DSCP = 46
	tests := []struct {
		name, policy string
		packet       Packet
		paths        []Path
		want         []int
	}{
		{"no paths", "auto", call(1), nil, nil},
		{"a call goes first by the quick one", "auto", call(1), paths(), []int{1, 2}},
		{"the quick one is full", "auto", call(1), paths(queued(0, 200_000)), []int{2, 1}},
		{"the quick one loses", "auto", call(1), paths(lossy(0)), []int{2, 1}},
		{"a large packet has no copy", "auto", big, paths(), []int{1}},
		{"but one marked EF", "auto", ef, paths(), []int{1, 2}},
		{"a copy that comes too late is none", "auto", call(1), paths(queued(1, 2_000_000)), []int{1}},
		{"standby has no copies", "auto", call(1), paths(standby(1)), []int{1}},
		{"standby alone", "auto", call(1), paths(standby(1))[1:], []int{2}},
		{"all stand by", "auto", call(1), paths(standby(0), standby(1)), []int{1, 2}},
		{"standby is not used though it is quicker", "auto", call(1), paths(standby(0)), []int{2}},
		{"nothing known", "auto", call(1), paths(unknown(0), unknown(1)), []int{1, 2}},
		{"the known one", "auto", call(1), paths(unknown(0)), []int{2, 1}},
		{"bulk where there is most room", "auto", bulk(1), paths(), []int{1}},
		{"bulk has no copies", "auto", bulk(1), paths(standby(1)), []int{1}},
		{"bulk tries the unknown", "auto", bulk(1), paths(unknown(0)), []int{1}},
		{"bulk off a crowded one", "auto", bulk(1), paths(queued(0, 1_000_000)), []int{2}},
		{"all", "redundant", bulk(1), paths(), []int{1, 2}},
		{"all, standby too", "redundant", call(1), paths(standby(0)), []int{2, 1}},
		{"all, the earliest first", "redundant", call(1), paths(queued(0, 200_000)), []int{2, 1}},
		{"all of none", "redundant", call(1), nil, nil},
		{"quickest, whatever waits", "minrtt", bulk(1), paths(queued(0, 1_000_000)), []int{1}},
		{"quickest that does not stand by", "minrtt", bulk(1), paths(standby(0)), []int{2}},
		{"ecf: the quick one", "ecf", call(1), paths(), []int{1}},
		{"ecf: waits for it", "ecf", call(1), paths(queued(0, 90_000)), []int{1}},
		{"ecf: no longer", "ecf", call(1), paths(queued(0, 120_000)), []int{2}},
		{"ecf: bulk, the quick one", "ecf", bulk(1), paths(queued(0, 20_000)), []int{1}},
		{"ecf: bulk, what has room", "ecf", bulk(1), paths(queued(0, 30_000)), []int{2}},
		{"ecf: bulk, no room", "ecf", bulk(1), paths(queued(0, 30_000), queued(1, 30_000)), []int{1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := newPolicy(t, test.policy).Pick(epoch, test.packet, test.paths, []int{7, 7, 7})
			if !slices.Equal(got, test.want) {
				t.Fatalf("picked %v, want %v", got, test.want)
			}
		})
	}
}

func TestRoundRobin(t *testing.T) {
	p := newPolicy(t, "roundrobin")
	paths := append(cellA(), Path{ID: 3})
	var got []int
	for i := range 9 {
		if i == 5 {
			paths = slices.Delete(paths, 0, 1) // the one that is next but one
		}
		got = append(got, p.Pick(epoch, bulk(i), paths, nil)...)
	}
	if want := []int{1, 2, 3, 1, 2, 3, 2, 3, 2}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestECFWaits: who waits for the quick path does not leave it for a little.
func TestECFWaits(t *testing.T) {
	p := newPolicy(t, "ecf")
	paths := cellA()
	for i, test := range []struct{ queued, want int }{
		{90_000, 1}, {120_000, 1}, {170_000, 2}, {120_000, 2}, {90_000, 1}, {0, 1}, {120_000, 2},
	} {
		paths[0].Queued = test.queued
		if got := p.Pick(epoch, call(1), paths, nil); got[0] != test.want {
			t.Fatalf("step %d, %d bytes wait: path %d", i, test.queued, got[0])
		}
	}
}

func TestMinRTTHysteresis(t *testing.T) {
	p := newPolicy(t, "minrtt")
	paths := cellA()
	for _, test := range []struct {
		rtt  time.Duration // of path 1
		want int
	}{{30 * ms, 1}, {65 * ms, 1}, {70 * ms, 2}, {58 * ms, 2}, {50 * ms, 1}} {
		paths[0].RTT = test.rtt
		if got := p.Pick(epoch, call(1), paths, nil); got[0] != test.want {
			t.Fatalf("with %v: path %d", test.rtt, got[0])
		}
	}
}

// TestWeighted: flows are dealt by rate, and stay.
func TestWeighted(t *testing.T) {
	p := newPolicy(t, "weighted")
	paths := cellA()
	at, count := map[int]int{}, map[int]int{}
	for i := range 80 {
		at[i] = p.Pick(epoch, bulk(i), paths, nil)[0]
		count[at[i]]++
	}
	if count[1] != 50 || count[2] != 30 {
		t.Fatalf("%v of 80 flows", count)
	}
	paths[0].Rate = 1e6
	for i := range 80 {
		if got := p.Pick(epoch, bulk(i), paths, nil)[0]; got != at[i] {
			t.Fatalf("flow %d moved to %d", i, got)
		}
	}
	for i := range 80 {
		if got := p.Pick(epoch, bulk(i), paths[1:], nil)[0]; got != 2 {
			t.Fatalf("flow %d on %d, which is gone", i, got)
		}
	}
}

// randomPaths are up to ten, with values as bad as can be.
func randomPaths(rng *rand.Rand) []Path {
	rates := []float64{0, 0, 1e6, 50e6, 1e9, -5, math.NaN(), math.Inf(1), 1e-300, math.MaxFloat64}
	delays := []time.Duration{0, 5 * ms, 30 * ms, 200 * ms, -ms, math.MaxInt64, math.MinInt64}
	var paths []Path
	for id := range rng.IntN(20) {
		if rng.IntN(2) == 0 {
			continue
		}
		paths = append(paths, Path{
			ID: id - 3, RTT: delays[rng.IntN(len(delays))], Variation: delays[rng.IntN(len(delays))],
			Rate: rates[rng.IntN(len(rates))], Queued: []int{0, 1500, 1 << 20, math.MaxInt, -1}[rng.IntN(5)],
			Loss: []float64{0, 0.02, 1, -1, 7, math.NaN()}[rng.IntN(6)], Standby: rng.IntN(4) == 0,
		})
	}
	rng.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths
}

// TestAnything: whatever the paths are and however they change, the answer is
// paths that exist, none twice, and never empty when there is one.
func TestAnything(t *testing.T) {
	for _, name := range Names() {
		rng := rand.New(rand.NewPCG(1, 2))
		p := newPolicy(t, name)
		now := epoch
		var paths []Path
		for n := range 20_000 {
			if n%50 == 0 {
				paths = randomPaths(rng)
			}
			now = now.Add(time.Duration(rng.IntN(50)-2) * ms)
			packet := Packet{Key: key(rng.IntN(3000)), Class: queue.Class(rng.IntN(2)), Bytes: rng.IntN(1 << 16), DSCP: uint8(rng.IntN(64))}
			got := p.Pick(now, packet, paths, nil)
			if (len(got) == 0) != (len(paths) == 0) || len(got) > maxPaths {
				t.Fatalf("%s: %v of %+v", name, got, paths)
			}
			active := slices.ContainsFunc(paths, func(p Path) bool { return !p.Standby })
			for i, id := range got {
				at := find(paths, id)
				if at < 0 || slices.Contains(got[:i], id) {
					t.Fatalf("%s: %v of %+v", name, got, paths)
				}
				if active && paths[at].Standby && (i == 0 || name != "redundant") {
					t.Fatalf("%s: %v uses one that stands by, of %+v", name, got, paths)
				}
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	for _, name := range Names() {
		p := newPolicy(t, name)
		paths := append(cellA(), Path{ID: 9, Standby: true})
		dst := make([]int, 0, 8)
		n, now := 0, epoch
		if allocs := testing.AllocsPerRun(5000, func() {
			n++
			now = now.Add(ms)
			packet := call(n % 2000)
			if n%2 == 0 {
				packet = bulk(n % 2000)
			}
			paths[0].Queued = n % 7 * 30_000
			dst = p.Pick(now, packet, paths, dst)
		}); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, class := range []queue.Class{queue.Sparse, queue.Bulk} {
			b.Run(name+" "+class.String(), func(b *testing.B) {
				p := newPolicy(b, name)
				paths := cellA()
				paths[0].Queued, paths[1].Queued = 60_000, 60_000
				dst := make([]int, 0, 8)
				n, now := 0, epoch
				b.ReportAllocs()
				for b.Loop() {
					n++
					now = now.Add(10 * time.Microsecond)
					dst = p.Pick(now, Packet{Key: key(n % 64), Class: class, Bytes: 300}, paths, dst)
				}
			})
		}
	}
}
