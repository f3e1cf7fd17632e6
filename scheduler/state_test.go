package scheduler

import (
	"fmt"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, test := range []struct {
		values []fmt.Stringer
		want   string
	}{
		{[]fmt.Stringer{Probing, Up, Late, Dead, Quarantined, Off, State(6), State(-1)}, "probing up late dead quarantined off state(6) state(-1)"},
		{[]fmt.Stringer{Bond, Overflow, Backup, Never, Role(9)}, "bond overflow backup never role(9)"},
		{[]fmt.Stringer{CapFree, CapNear, CapSpent, CapLevel(3)}, "free near spent cap level(3)"},
		{[]fmt.Stringer{None, Standby, Active, Use(3)}, "none standby active use(3)"},
		{[]fmt.Stringer{BitRate(19.84e6), BitRate(0)}, "19.8 Mb/s 0.0 Mb/s"},
	} {
		var got []string
		for _, v := range test.values {
			got = append(got, v.String())
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("got %q, want %q", s, test.want)
		}
	}
}

func TestParseRole(t *testing.T) {
	for r := Bond; r <= Never; r++ {
		if got, err := ParseRole(r.String()); got != r || err != nil {
			t.Errorf("%v: got %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Bond", "spare", "bond "} {
		got, err := ParseRole(s)
		if got != Never || err == nil || !strings.Contains(err.Error(), "use one of bond, overflow, backup, never") {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
	}
}
