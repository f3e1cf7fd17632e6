package scheduler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestShare(t *testing.T) {
	for _, test := range []struct {
		name  string
		wants []BitRate
		want  []BitRate
	}{
		{"nobody", nil, nil},
		{"one", []BitRate{40}, []BitRate{100}},
		{"one that wants more", []BitRate{140}, []BitRate{100}},
		{"two alike", []BitRate{90, 80}, []BitRate{50, 50}},
		{"little beside much", []BitRate{10, 500}, []BitRate{10, 90}},
		{"steps", []BitRate{10, 30, 200, 100}, []BitRate{10, 30, 30, 30}},
		{"more than all want", []BitRate{20, 60}, []BitRate{25, 75}},
		{"nothing wanted", []BitRate{0, 0}, []BitRate{0, 0}},
	} {
		got := slices.Clone(test.wants)
		if Share(100, got); !slices.EqualFunc(got, test.want, func(a, b BitRate) bool { return math.Abs(float64(a-b)) < 1e-9 }) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// All is given away, and who has less than another has what it wants.
func TestShareIsFair(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		wants := make([]BitRate, 1+random.IntN(20))
		for i := range wants {
			wants[i] = BitRate(math.Exp(8 * random.Float64()))
		}
		got := slices.Clone(wants)
		rate := BitRate(math.Exp(12 * random.Float64()))
		Share(rate, got)
		var sum BitRate
		for i, r := range got {
			if sum += r; r < wants[i]*(1-1e-9) && r < slices.Max(got)*(1-1e-9) {
				t.Fatalf("%v of %v wanted: %v", rate, wants, got)
			}
		}
		if math.Abs(float64(sum/rate-1)) > 1e-9 {
			t.Fatalf("%v of %v are given to %v", sum, rate, wants)
		}
	}
}
