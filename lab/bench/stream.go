package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process holds.
type usage struct {
	RSS         int64 `json:"rss_bytes"`
	Anonymous   int64 `json:"anonymous_bytes"` // of RSS: heap and stacks
	Descriptors int   `json:"descriptors"`
	Threads     int   `json:"threads"`
}

// readUsage reads /proc/PID/status and counts /proc/PID/fd.
func readUsage(pid int) (u usage, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("read memory of a daemon: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch key {
		case "VmRSS":
			u.RSS = n << 10
		case "RssAnon":
			u.Anonymous = n << 10
		case "Threads":
			u.Threads = int(n)
		}
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, fmt.Errorf("count descriptors of a daemon: %w", err)
	}
	u.Descriptors = len(list)
	return u, nil
}

// streamResult is what idle connections cost one daemon.
type streamResult struct {
	Suite     string  `json:"suite"`
	Contender string  `json:"contender"`
	Daemon    string  `json:"daemon"`
	Streams   int     `json:"streams"`
	Before    usage   `json:"before"`
	With      usage   `json:"with"`
	After     usage   `json:"after"`          // all are closed
	Each      float64 `json:"bytes_each"`     // growth of RSS
	Settled   float64 `json:"settled_s"`      // from the last close until After
	Set       float64 `json:"set_up_seconds"` // of all streams
}

// perDaemon is a reading of both daemons.
type perDaemon [2]usage

func (g *stage) usage() (u perDaemon, err error) {
	p := g.daemons()
	for i, pid := range []int{p.client, p.server} {
		if u[i], err = readUsage(pid); err != nil {
			return u, err
		}
	}
	return u, nil
}

const (
	// streamsSettle is how long the daemons are left alone before a reading:
	// ample for a collection of garbage.
	streamsSettle = 5 * time.Second
	// streamsReturn bounds the wait for the descriptors to be given back, and
	// streamsSpare is how many more than before may stay: a pool's carriers.
	streamsReturn = 60 * time.Second
	streamsSpare  = 32
	// streamsEvery keeps below braid's bound of new streams in a second: how
	// fast they come is not measured here.
	streamsEvery = 2500 * time.Microsecond
)

// idleStreams opens many connections, leaves them idle, and closes them.
func idleStreams(ctx context.Context, b *bench, s *suite, stages []*stage) error {
	for _, g := range stages {
		if g.daemons() == (pids{}) {
			return fmt.Errorf("%s has no daemons to look at", g.name())
		}
		// What every first connection makes must not count.
		for range 10 {
			if _, _, err := g.connect(ctx); err != nil {
				return fmt.Errorf("%s: %w", g.name(), err)
			}
		}
		list, err := g.idleStreams(ctx, b.streams)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name(), err)
		}
		for i, daemon := range []string{"client", "server"} {
			list[i].Suite, list[i].Contender, list[i].Daemon = s.name, g.name(), daemon
		}
		b.report.addStreams(list[:])
	}
	return nil
}

func (g *stage) idleStreams(ctx context.Context, n int) (list [2]streamResult, err error) {
	if err := sleep(ctx, streamsSettle); err != nil {
		return list, err
	}
	before, err := g.usage()
	if err != nil {
		return list, err
	}
	conns := make([]net.Conn, 0, n)
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	defer closeAll()
	began := time.Now()
	for i := range n {
		c, err := g.dial(ctx, echoBytesBack, 0)
		if err != nil {
			return list, fmt.Errorf("stream %d: %w", i+1, err)
		}
		conns = append(conns, c)
		if err := echoOne(c); err != nil {
			return list, fmt.Errorf("stream %d: %w", i+1, err)
		}
		if err := sleep(ctx, time.Until(began.Add(time.Duration(i+1)*streamsEvery))); err != nil {
			return list, err
		}
	}
	set := time.Since(began)
	if err := sleep(ctx, streamsSettle); err != nil {
		return list, err
	}
	with, err := g.usage()
	if err != nil {
		return list, err
	}
	for i, c := range conns { // all of them live
		if err := echoOne(c); err != nil {
			return list, fmt.Errorf("stream %d, after it was idle: %w", i+1, err)
		}
	}
	closeAll()
	began = time.Now()
	after, err := g.usage()
	for err == nil && time.Since(began) < streamsReturn &&
		(after[0].Descriptors > before[0].Descriptors+streamsSpare || after[1].Descriptors > before[1].Descriptors+streamsSpare) {
		if err = sleep(ctx, 200*time.Millisecond); err == nil {
			after, err = g.usage()
		}
	}
	for i := range list {
		list[i] = streamResult{
			Streams: n, Before: before[i], With: with[i], After: after[i], Set: set.Seconds(), Settled: time.Since(began).Seconds(),
			Each: float64(with[i].RSS-before[i].RSS) / float64(n),
		}
	}
	return list, err
}
