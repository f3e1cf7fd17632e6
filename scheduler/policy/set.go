package policy

import (
	"hash/maphash"
	"time"

	"braid/scheduler/queue"
)

// Set is the policies of one session, with one budget for their copies. A policy
// is made when the first packet needs it.
type Set struct {
	seed  maphash.Seed
	rules Rules
	hedge *Hedge
	made  []Policy // by their index in Names
}

// NewSet makes a Set. What the rules answer are indexes in Names; flows that they
// do not name have the default policy. The seed is as for New, the share as for
// NewHedge.
func NewSet(seed maphash.Seed, rules Rules, share float64) *Set {
	return &Set{seed: seed, rules: rules, hedge: NewHedge(share), made: make([]Policy, len(kinds))}
}

// Change replaces the rules and the share, as for NewSet. What the policies know
// of flows and what was counted stays.
func (s *Set) Change(rules Rules, share float64) {
	s.rules = rules
	s.hedge.SetShare(share)
}

// For returns the index of the policy of a flow, of which a packet is shown. It is
// meant to be asked once for a flow.
func (s *Set) For(h *queue.Header) int {
	if i := s.rules.Policy(h); i >= 0 && i < len(kinds) {
		return i
	}
	return 0
}

// Pick is Policy's, of the policy with that index.
func (s *Set) Pick(i int, now time.Time, p Packet, paths []Path, dst []int) []int {
	if s.made[i] == nil {
		s.makeOne(i)
	}
	return s.made[i].Pick(now, p, paths, dst)
}

func (s *Set) makeOne(i int) { s.made[i] = kinds[i].make(s.seed, s.hedge) }

// Hedge is the budget of all copies.
func (s *Set) Hedge() *Hedge { return s.hedge }

// Spreads is as the function of that name, of the policy with that index.
func (s *Set) Spreads(i int) bool { return kinds[i].spreads }

// Hedges says whether sparse packets of the policy with that index are to be sent
// again when they are late.
func (s *Set) Hedges(i int) bool { return kinds[i].hedges }

// Whole says whether packets of the policy with that index must not be cut any
// more when it is asked: they go on several paths, and what comes by one could not
// be told from what comes by the other.
func (s *Set) Whole(i int) bool { return kinds[i].spreads || kinds[i].copies }
