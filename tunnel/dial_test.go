package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCandidates(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("[2001:db8::1]:443")
	both := Uplink{Name: "both", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8:1::1")}}
	tests := []struct {
		name    string
		servers []netip.AddrPort
		uplinks []Uplink
		want    string
	}{
		{"families match", []netip.AddrPort{v6, v4}, []Uplink{uplinkA, both}, "both [2001:db8::1]:443, dsl 192.0.2.1:443, both 192.0.2.1:443"},
		{"no IPv6 here", []netip.AddrPort{v6}, []Uplink{uplinkA}, ""},
		{"no uplink", []netip.AddrPort{v4}, nil, ""},
		{"no server", nil, []Uplink{uplinkA}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range candidates(tt.servers, tt.uplinks) {
				got = append(got, c.via.Name+" "+c.server.String())
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("candidates %q, want %q", s, tt.want)
			}
		})
	}
}

func TestRace(t *testing.T) {
	const stagger = 300 * time.Millisecond
	type run struct {
		takes time.Duration
		fails bool
	}
	never := 24 * time.Hour
	tests := []struct {
		name    string
		runs    []run
		want    int // the winner, -1 for none
		after   time.Duration
		started int
	}{
		{"first is quick", []run{{100 * time.Millisecond, false}, {0, false}}, 0, 100 * time.Millisecond, 1},
		{"first is slow", []run{{2 * time.Second, false}, {100 * time.Millisecond, false}}, 1, 400 * time.Millisecond, 2},
		{"first hangs", []run{{never, false}, {never, false}, {50 * time.Millisecond, false}}, 2, 650 * time.Millisecond, 3},
		{"first fails", []run{{10 * time.Millisecond, true}, {20 * time.Millisecond, false}, {0, false}}, 1, 30 * time.Millisecond, 2},
		{"slow first wins after all", []run{{500 * time.Millisecond, false}, {never, false}}, 0, 500 * time.Millisecond, 2},
		{"all fail", []run{{10 * time.Millisecond, true}, {20 * time.Millisecond, true}}, -1, 30 * time.Millisecond, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var started atomic.Int32
				got, err := race(t.Context(), len(tt.runs), len(tt.runs), func() time.Duration { return stagger }, func(ctx context.Context, i int) (int, error) {
					started.Add(1)
					select {
					case <-time.After(tt.runs[i].takes):
					case <-ctx.Done():
						return 0, ctx.Err()
					}
					if tt.runs[i].fails {
						return 0, errors.New("failed " + tt.name)
					}
					return i, nil
				}, func(int) { t.Error("nothing should be left to discard") })
				if (tt.want < 0) != (err != nil) || err == nil && got != tt.want {
					t.Errorf("winner %d, %v; want %d", got, err, tt.want)
				}
				if d := time.Since(began); d != tt.after {
					t.Errorf("took %v, want %v", d, tt.after)
				}
				if n := int(started.Load()); n != tt.started {
					t.Errorf("%d attempts started, want %d", n, tt.started)
				}
			})
		})
	}
}

// What succeeds although it was cancelled must not leak.
func TestRaceDiscardsLateWinners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var discarded []int
		got, err := race(t.Context(), 2, 2, func() time.Duration { return time.Millisecond }, func(ctx context.Context, i int) (int, error) {
			time.Sleep(time.Duration(1+i) * 100 * time.Millisecond) // deaf to ctx
			return i, nil
		}, func(i int) { discarded = append(discarded, i) })
		if got != 0 || err != nil || len(discarded) != 1 || discarded[0] != 1 {
			t.Errorf("winner %d, %v, discarded %v", got, err, discarded)
		}
	})
}

func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := race(ctx, 100, 100, func() time.Duration { return time.Hour }, func(ctx context.Context, i int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, func(int) {})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestBackoff(t *testing.T) {
	tests := []struct {
		attempts  int
		down      time.Duration
		low, high time.Duration
	}{
		{0, 0, 75 * time.Millisecond, 125 * time.Millisecond},
		{1, 0, 75 * time.Millisecond, 125 * time.Millisecond},
		{2, time.Second, 150 * time.Millisecond, 250 * time.Millisecond},
		{5, time.Minute, 900 * time.Millisecond, 1500 * time.Millisecond},
		{1 << 40, youngOutage, 900 * time.Millisecond, 1500 * time.Millisecond},
		{1 << 40, youngOutage + 1, 15 * time.Second, 25 * time.Second},
	}
	for _, tt := range tests {
		if d := backoff(tt.attempts, tt.down, 0); d != tt.low {
			t.Errorf("backoff(%d, %v, 0) = %v, want %v", tt.attempts, tt.down, d, tt.low)
		}
		if d := backoff(tt.attempts, tt.down, 1); d != tt.high {
			t.Errorf("backoff(%d, %v, 1) = %v, want %v", tt.attempts, tt.down, d, tt.high)
		}
	}
}
