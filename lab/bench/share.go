package main

import (
	"context"
	"slices"
	"time"

	"braid/lab"
)

// The ways of a topology's links.
const (
	up   = lab.AToB
	down = lab.BToA
)

// carried is how many bytes have come down each uplink, as the emulator counts.
func (g *stage) carried() (map[string]uint64, error) {
	list := make(map[string]uint64)
	for name, l := range g.net.Links {
		c, err := l.Counters(down)
		if err != nil {
			return nil, err
		}
		list[name] = c.Bytes
	}
	return list, nil
}

// share is the part of one uplink in what all carried between two readings.
func share(was, is map[string]uint64, uplink string) float64 {
	all := 0.0
	for name := range is {
		all += float64(is[name] - was[name])
	}
	if all == 0 {
		return 0
	}
	return float64(is[uplink]-was[uplink]) / all
}

// shareBack waits until an uplink has a share again, and returns how long after a
// moment that was, in seconds.
func (g *stage) shareBack(ctx context.Context, uplink string, want float64, since time.Time) (float64, error) {
	type reading struct {
		at      time.Time
		carried map[string]uint64
	}
	var list []reading
	for {
		carried, err := g.carried()
		if err != nil {
			return 0, err
		}
		now := time.Now()
		list = append(list, reading{now, carried})
		// The last reading that is a window ago.
		i := slices.IndexFunc(list, func(r reading) bool { return now.Sub(r.at) < shareWindow }) - 1
		if i >= 0 && share(list[i].carried, carried, uplink) >= want {
			return now.Sub(since).Seconds(), nil
		}
		if now.Sub(since) > shareWatch {
			return shareWatch.Seconds(), nil
		}
		if err := sleep(ctx, shareStep); err != nil {
			return 0, err
		}
	}
}
