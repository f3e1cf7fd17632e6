package config

import (
	"fmt"
	"time"
)

// Limits bound what streams take of a host.
type Limits struct {
	Streams             int           // open at once, those that wait for a carrier too
	NewStreamsPerSecond int           // on a server from each client
	MemoryBytes         int64         // of the buffers of all streams
	Resume              time.Duration // how long a stream waits for a carrier
}

// ServerLimits are a server's Limits, and what one client may have of them.
type ServerLimits struct {
	Limits
	StreamsPerClient int  // at most Streams
	Speedtest        bool // whether clients may test their speed
}

// Bounds of the limits.
const (
	// Two descriptors for a stream, its socket and its carrier: what fits
	// into the 524288 that systemd lets a service have.
	maxStreams = 1 << 18
	// More than a host can open; the bound is for typing errors.
	maxNewStreams = 100_000

	// Enough for one stream at full speed on a long path.
	minMemoryBytes = 16 << 20
	maxMemoryBytes = 1 << 40

	// A new carrier over a slow uplink takes a few seconds.
	minResume = 10 * time.Second
	maxResume = 24 * time.Hour
)

// limits reads what the [limits] tables of both files have.
func limits(n *node, errs *Errors) Limits {
	return Limits{
		Streams:             between(n.get("streams"), errs, 1, maxStreams),
		NewStreamsPerSecond: between(n.get("new_streams_per_second"), errs, 1, maxNewStreams),
		MemoryBytes:         one(n.get("memory"), errs, parseMemory),
		Resume:              one(n.get("resume"), errs, parseResume),
	}
}

// serverLimits reads the [limits] table of a server.
func serverLimits(n *node, errs *Errors) ServerLimits {
	own := n.get("streams_per_client")
	l := ServerLimits{limits(n, errs), between(own, errs, 1, maxStreams), n.isTrue("speedtest")}
	if l.Streams == 0 || l.StreamsPerClient <= l.Streams {
		return l
	}
	if own.line > 0 {
		errs.add(own, "must not be more than "+n.get("streams").place()+", which is for all clients together",
			"make that one larger, or this one smaller")
	}
	l.StreamsPerClient = l.Streams // whoever sets only streams wants no more
	return l
}

// between reads an integer within bounds; an absent or faulty one gives 0.
func between(n *node, errs *Errors, lowest, highest int64) int {
	if n == nil {
		return 0
	}
	if n.num < lowest || n.num > highest {
		errs.add(n, fmt.Sprintf("must be %d to %d", lowest, highest), "leave it out for "+n.field.def)
		return 0
	}
	return int(n.num)
}

// memoryUnits are those that people write for memory.
var memoryUnits = []unit{{"MiB", 1 << 20}, {"GiB", 1 << 30}, {"MB", 1e6}, {"GB", 1e9}}

// parseMemory reads "256MiB".
func parseMemory(text string) (int64, *fault) {
	const example = `such as "256MiB" or "1GiB"`
	bytes, ok := parseBytes(text, memoryUnits)
	switch {
	case !ok:
		return 0, &fault{"must be a number and MiB, GiB, MB or GB", example}
	case bytes < minMemoryBytes || bytes > maxMemoryBytes:
		return 0, &fault{fmt.Sprintf("must be %dMiB to %dGiB", minMemoryBytes>>20, maxMemoryBytes>>30), example}
	}
	return int64(bytes), nil
}

// parseResume reads "10m".
func parseResume(text string) (time.Duration, *fault) {
	const example = `such as "90s", "10m" or "24h"`
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, &fault{"must be a duration: numbers with s, m or h", example}
	case d < minResume || d > maxResume:
		return 0, &fault{fmt.Sprintf("must be %.0f seconds to %.0f hours", minResume.Seconds(), maxResume.Hours()), example}
	}
	return d, nil
}
