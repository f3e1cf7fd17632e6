package dashboard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestHistory(t *testing.T) {
	var h History
	add := func(s float64, rates ...Rate) { h.Add(noon.Add(time.Duration(s*float64(time.Second))), rates) }
	add(0, Rate{"dsl", 10, 1})
	add(1, Rate{"dsl", 20, 2}) // the same step: the mean counts
	add(2, Rate{"dsl", 30, 3}, Rate{"lte", 7, 0})
	add(8.9, Rate{"dsl", 50, 5})
	got := h.Hour(noon.Add(11 * time.Second))
	want := Hour{StepS: 2, EndS: noon.Unix() + 12, Series: []Series{
		{"dsl", []int64{15, 30, -1, -1, 50, -1}, []int64{1, 3, -1, -1, 5, -1}},
		{"lte", []int64{7, -1, -1, -1, -1}, []int64{0, -1, -1, -1, -1}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := h.Hour(noon.Add(2 * time.Hour)); len(got.Series) != 0 {
		t.Errorf("after two hours there is still %v", got.Series)
	}
}

// Whatever names come, memory is bounded: who was not seen for an hour makes room,
// and nobody else.
func TestHistoryForgets(t *testing.T) {
	var h History
	for i := range MaxSeries + 10 {
		h.Add(noon, []Rate{{fmt.Sprint("client", i), 1, 1}})
	}
	if got := len(h.Hour(noon).Series); got != MaxSeries {
		t.Errorf("%d series are kept, want %d", got, MaxSeries)
	}
	later := noon.Add(time.Hour + Step)
	h.Add(later, []Rate{{"new", 5, 5}})
	got := h.Hour(later)
	if len(got.Series) != 1 || got.Series[0].Name != "new" || len(h.series) != MaxSeries {
		t.Errorf("an hour later: %v, %d series", got.Series, len(h.series))
	}
}

// The history is what a list of all samples says, while the clock goes, stops and
// leaps.
func TestHistoryModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var h History
		all := map[uint32][]float64{}
		now := noon
		for range 300 {
			if r.IntN(20) == 0 {
				now = now.Add(time.Duration(r.IntN(2000)) * time.Second)
			}
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			v := float64(r.IntN(1000))
			h.Add(now, []Rate{{"dsl", v, 0}})
			all[number(now)] = append(all[number(now)], v)
		}
		var want []int64
		for i := range uint32(Points) {
			list := all[number(now)-uint32(Points)+1+i]
			switch sum := float32(0); {
			case len(list) > 0:
				for _, v := range list {
					sum += float32(v)
				}
				want = append(want, int64(sum/float32(len(list))))
			case len(want) > 0:
				want = append(want, -1)
			}
		}
		if diff := cmp.Diff(want, h.Hour(now).Series[0].RxBps); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	}
}

// A clock that is set back shows the hour before its new time, and what it told of
// the time after that is written over.
func TestHistoryClockSetBack(t *testing.T) {
	var h History
	for i := range 100 {
		h.Add(noon.Add(time.Duration(i)*Step), []Rate{{"dsl", float64(i), 0}})
	}
	h.Add(noon.Add(50*Step), []Rate{{"dsl", 1000, 0}})
	h.Add(noon.Add(51*Step), []Rate{{"dsl", 2000, 0}})
	got := h.Hour(noon.Add(51 * Step)).Series[0].RxBps
	if want := []int64{48, 49, 525, 1025}; !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("the last are %v, want %v", got[len(got)-4:], want)
	}
}
