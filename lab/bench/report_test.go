package main

import (
	"path/filepath"
	"testing"
)

// Rounds of failover that were measured before count when they are to.
func TestGoOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	before := report{Failover: []failoverResult{{Suite: "failoverA", Round: 2}, {Suite: "failoverB", Round: 7}}}
	if err := before.save(file); err != nil {
		t.Fatal(err)
	}
	for goOn, want := range map[bool]int{true: 2, false: 0} {
		var r report
		if err := r.load(file, goOn); err != nil {
			t.Fatal(err)
		}
		if got := r.failoverRounds("failoverA"); got != want {
			t.Errorf("going on %v: %d rounds, want %d", goOn, got, want)
		}
	}
}
