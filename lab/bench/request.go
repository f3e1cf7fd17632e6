package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// requestResult is what a contender's requests took, over all rounds.
type requestResult struct {
	Suite     string `json:"suite"`
	Contender string `json:"contender"`
	Requests  int    `json:"requests"`
	// One request of replyBytes on a new connection: until the last byte.
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	// A new connection: connect() alone, and with the echo of the first byte.
	ConnectP50 float64 `json:"connect_p50_ms"`
	ConnectP90 float64 `json:"connect_p90_ms"`
	FirstP50   float64 `json:"first_byte_p50_ms"`
	FirstP90   float64 `json:"first_byte_p90_ms"`
	// The round trip of an echo when idle.
	RTT float64 `json:"rtt_ms"`
}

// requests makes requests one after another, a batch with each contender in turn.
func requests(ctx context.Context, b *bench, s *suite, stages []*stage) error {
	type times struct{ whole, connect, first []time.Duration }
	measured := make([]times, len(stages))
	for range b.roundsOr(3) {
		for i, g := range stages {
			t := &measured[i]
			for range b.requests {
				d, err := g.request(ctx, replyBytes)
				if err != nil {
					return fmt.Errorf("%s: %w", g.name(), err)
				}
				t.whole = append(t.whole, d)
			}
			for range b.requests {
				connect, first, err := g.connect(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", g.name(), err)
				}
				t.connect, t.first = append(t.connect, connect), append(t.first, first)
			}
		}
	}
	var list []requestResult
	for i, g := range stages {
		idle, err := g.idle(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name(), err)
		}
		t := measured[i]
		list = append(list, requestResult{
			Suite: s.name, Contender: g.name(), Requests: len(t.whole),
			P50: ms(percentile(t.whole, 50)), P90: ms(percentile(t.whole, 90)),
			ConnectP50: ms(percentile(t.connect, 50)), ConnectP90: ms(percentile(t.connect, 90)),
			FirstP50: ms(percentile(t.first, 50)), FirstP90: ms(percentile(t.first, 90)), RTT: ms(idle),
		})
	}
	b.report.addRequests(list)
	return nil
}

// requestPatience bounds one request.
const requestPatience = time.Minute

// request makes one for so many bytes and returns how long it took, from before
// the connection until the end of the reply.
func (g *stage) request(ctx context.Context, bytes int64) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(requestPatience))
	defer cancel()
	c, err := g.dial(ctx, sendReply, uint64(bytes))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(began.Add(requestPatience)); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, c)
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("read the reply: %w", err)
	}
	if n != bytes {
		return 0, fmt.Errorf("the reply has %d bytes, want %d", n, bytes)
	}
	return took, nil
}

// connect makes a connection and has one byte echoed.
func (g *stage) connect(ctx context.Context) (connect, first time.Duration, err error) {
	began := time.Now()
	c, err := g.dial(ctx, echoBytesBack, 0)
	connect = time.Since(began)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if err := echoOne(c); err != nil {
		return 0, 0, err
	}
	return connect, time.Since(began), nil
}

// echoOne has one byte come back.
func echoOne(c io.ReadWriter) error {
	b := []byte{'x'}
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("ask for an echo: %w", err)
	}
	b[0] = 0
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("read the echo: %w", err)
	}
	if b[0] != 'x' {
		return errors.New("the echo is not what was sent")
	}
	return nil
}

// percentile is the value that p per cent do not exceed; 0 without any.
func percentile(list []time.Duration, p float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(p/100*float64(len(sorted))), len(sorted)-1)]
}
