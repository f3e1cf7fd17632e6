package tunnel

import (
	"testing"
	"time"
)

func TestFallsBehind(t *testing.T) {
	const ms = time.Millisecond
	near, far := Uplink{Name: "near"}, Uplink{Name: "far"}
	both := []string{"near", "far"}
	for _, test := range []struct {
		name      string
		near, far time.Duration // round trips; 0: not known
		active    []string
		left      []Uplink
		want      bool
	}{
		{"the far one dies", 35 * ms, 250 * ms, both, []Uplink{near}, true},
		{"it is not that far", 45 * ms, 90 * ms, both, []Uplink{near}, false},
		{"the near one dies", 35 * ms, 250 * ms, both, []Uplink{far}, false},
		{"none dies", 35 * ms, 250 * ms, both, []Uplink{near, far}, false},
		{"it carried nothing", 35 * ms, 250 * ms, []string{"near"}, []Uplink{near}, false},
		{"all die", 35 * ms, 250 * ms, both, nil, false},
		{"nothing is known", 0, 0, both, []Uplink{near}, false},
		{"nothing is known of what remains", 0, 250 * ms, both, []Uplink{near}, false},
	} {
		c := &Client{}
		c.usage.uplinks = map[string]*UplinkUsage{"near": {Uplink: "near", RTT: test.near}, "far": {Uplink: "far", RTT: test.far}}
		if got := c.fallsBehind(test.active, test.left); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
