package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// The environment chooses how much is tested, and of what:
//
//	BRAID_TCP=packets     tunnel.tcp of the clients; braid's default otherwise
//	BRAID_LONG=1          long outages and many repetitions: some 20 minutes
//	BRAID_KILLS=N         how often TestCarriersReset resets all carriers
//	BRAID_TINY_RUNS=N     how often TestTinyWrites transfers
//	BRAID_FLAPS=5m        how long TestFlaps goes on
//	BRAID_SEED=N          its events, as in the run that printed this seed

// long tells whether time does not matter.
func long() bool { return os.Getenv("BRAID_LONG") != "" }

// count is a number of repetitions: that of the environment, or one of two
// defaults.
func count(t *testing.T, variable string, short, many int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: want a number above 0", variable, text)
		}
		return n
	}
	if long() {
		return many
	}
	return short
}

// lifetime bounds one test.
func lifetime() time.Duration {
	if long() || os.Getenv("BRAID_KILLS") != "" || os.Getenv("BRAID_TINY_RUNS") != "" {
		return 30 * time.Minute
	}
	return 3 * time.Minute
}

// needStreams is for tests of what packets do not do.
func needStreams(t *testing.T) {
	t.Helper()
	if os.Getenv("BRAID_TCP") == "packets" {
		t.Skip("BRAID_TCP=packets")
	}
}
