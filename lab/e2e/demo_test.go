package e2e

import (
	"strings"
	"testing"
)

// The demonstration is a promise, too.
func TestDemonstration(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	code, out, stderr := braid(t, "demo")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	for _, want := range []string{"longest stall of the download", "bytes verified", "ssh alive"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
