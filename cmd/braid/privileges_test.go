package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The packaged units give a daemon what it keeps, and nothing else.
func TestUnitsGiveWhatIsKept(t *testing.T) {
	var want []string
	for _, v := range kept {
		want = append(want, strings.ToUpper(v.String()))
	}
	slices.Sort(want)
	for _, role := range []string{"server", "client"} {
		b, err := os.ReadFile("../../packaging/systemd/braid-" + role + ".service")
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if key != "AmbientCapabilities" && key != "CapabilityBoundingSet" {
				continue
			}
			found++
			if got := strings.Fields(value); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
				t.Errorf("%s: %s is %v, want %v", role, key, got, want)
			}
		}
		if found != 2 {
			t.Errorf("%s: %d lists of capabilities", role, found)
		}
	}
}
