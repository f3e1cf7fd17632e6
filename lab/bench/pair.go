package main

import (
	"fmt"
	"strings"
	"time"

	"braid/lab/emulator"
	"braid/lab/topology"
)

// pair is two uplinks of the grid. What one of the two has stands at the same
// place in all fields.
type pair struct {
	mbps  [2]float64 // down; up is a fifth of it
	rttMs [2]int
	loss  [2]float64 // per cent, each way
	bloat [2]bool    // a queue of a second before the line, each way
}

// The names of a pair's uplinks. The host prefers the first.
var pairUplinks = [2]string{"one", "two"}

const (
	bloatQueue = time.Second
	leastUp    = emulator.Mbps
)

// pairs is the grid: rates from 1:1 to 25:1, round trips from 1:1 to 1:20, loss
// up to 3 % on the better, the worse or both, a bloated queue on either, a
// faster one that is far away, and a host that prefers the slower one.
var pairs = []pair{
	{mbps: [2]float64{50, 50}, rttMs: [2]int{30, 30}},
	{mbps: [2]float64{50, 50}, rttMs: [2]int{30, 60}, loss: [2]float64{2, 0}},
	{mbps: [2]float64{20, 20}, rttMs: [2]int{20, 40}},
	{mbps: [2]float64{16, 16}, rttMs: [2]int{30, 60}, loss: [2]float64{3, 3}},
	{mbps: [2]float64{10, 10}, rttMs: [2]int{20, 400}},
	{mbps: [2]float64{10, 10}, rttMs: [2]int{30, 200}, loss: [2]float64{0, 1}},
	{mbps: [2]float64{5, 5}, rttMs: [2]int{40, 40}},

	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 30}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}}, // cell A
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{0, 0.5}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{0, 2}}, // cell C
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{0, 3}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{1, 0}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{3, 0}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, loss: [2]float64{2, 2}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, bloat: [2]bool{true, false}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, bloat: [2]bool{false, true}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 60}, bloat: [2]bool{true, true}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 200}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 200}, loss: [2]float64{0, 0.5}}, // cell B
	{mbps: [2]float64{50, 30}, rttMs: [2]int{30, 600}},
	{mbps: [2]float64{50, 30}, rttMs: [2]int{200, 30}},

	{mbps: [2]float64{50, 10}, rttMs: [2]int{30, 30}},
	{mbps: [2]float64{50, 10}, rttMs: [2]int{30, 60}, loss: [2]float64{0, 2}},
	{mbps: [2]float64{50, 10}, rttMs: [2]int{30, 60}, bloat: [2]bool{false, true}},
	{mbps: [2]float64{50, 10}, rttMs: [2]int{30, 300}},
	{mbps: [2]float64{50, 10}, rttMs: [2]int{200, 20}},
	{mbps: [2]float64{50, 10}, rttMs: [2]int{600, 30}},
	{mbps: [2]float64{50, 5}, rttMs: [2]int{30, 60}},
	{mbps: [2]float64{50, 5}, rttMs: [2]int{30, 60}, bloat: [2]bool{false, true}},
	{mbps: [2]float64{50, 5}, rttMs: [2]int{30, 300}, loss: [2]float64{0, 1}},

	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 30}},
	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 60}, loss: [2]float64{0, 3}},
	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 60}, loss: [2]float64{2, 0}},
	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 60}, bloat: [2]bool{false, true}},
	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 600}},
	{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 600}, loss: [2]float64{0, 1}, bloat: [2]bool{false, true}},

	{mbps: [2]float64{10, 50}, rttMs: [2]int{30, 60}},
	{mbps: [2]float64{2, 50}, rttMs: [2]int{60, 30}},
	{mbps: [2]float64{10, 50}, rttMs: [2]int{60, 30}, loss: [2]float64{1, 0}, bloat: [2]bool{true, false}},
}

// name tells rates, round trips, loss and which of the two is bloated:
// "50/2 30/600ms 0/1% bloat2".
func (p pair) name() string {
	s := fmt.Sprintf("%v/%v %d/%dms", p.mbps[0], p.mbps[1], p.rttMs[0], p.rttMs[1])
	if p.loss != [2]float64{} {
		s += fmt.Sprintf(" %v/%v%%", p.loss[0], p.loss[1])
	}
	switch p.bloat {
	case [2]bool{true, false}:
		s += " bloat1"
	case [2]bool{false, true}:
		s += " bloat2"
	case [2]bool{true, true}:
		s += " bloat12"
	}
	return s
}

func (p pair) rate(i int) emulator.BitRate {
	return emulator.BitRate(p.mbps[i] * float64(emulator.Mbps))
}

func (p pair) rtt(i int) time.Duration { return time.Duration(p.rttMs[i]) * time.Millisecond }

// config is the pair as a network.
func (p pair) config() topology.Config {
	var c topology.Config
	for i, name := range pairUplinks {
		down := p.rate(i)
		u := topology.Line(name, down, max(down/5, leastUp), p.rtt(i)).WithLoss(emulator.RandomLoss(p.loss[i] / 100))
		if p.bloat[i] {
			u.Down.QueueTime, u.Up.QueueTime = bloatQueue, bloatQueue
		}
		c.Uplinks = append(c.Uplinks, u)
	}
	return c
}

// choosePairs returns the pairs with one of the names, or else with one of them
// in their name; without names all. Of these it takes part n of m.
func choosePairs(names []string, n, m int) ([]pair, error) {
	var list []pair
	used := make([]bool, len(names))
	exact := make([]bool, len(names))
	for i, name := range names {
		for _, p := range pairs {
			exact[i] = exact[i] || p.name() == name
		}
	}
	for _, p := range pairs {
		chosen := len(names) == 0
		for i, name := range names {
			if p.name() == name || !exact[i] && strings.Contains(p.name(), name) {
				chosen, used[i] = true, true
			}
		}
		if chosen {
			list = append(list, p)
		}
	}
	for i, name := range names {
		if !used[i] {
			return nil, fmt.Errorf("there is no pair %q: the grid has %s", name, strings.Join(pairNames(), ", "))
		}
	}
	var part []pair
	for i, p := range list {
		if i%m == n-1 {
			part = append(part, p)
		}
	}
	return part, nil
}

func pairNames() []string {
	var list []string
	for _, p := range pairs {
		list = append(list, p.name())
	}
	return list
}
