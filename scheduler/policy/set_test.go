package policy

import (
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"braid/scheduler/queue"
)

func TestSet(t *testing.T) {
	udp := func(port uint16) *queue.Header {
		return &queue.Header{Key: queue.FlowKey{Kind: 4, Protocol: 17, DstPort: port}}
	}
	s := NewSet(maphash.MakeSeed(), NewRules([]Rule{
		{DstPorts: []PortRange{{5060, 5060}}, Policy: slices.Index(Names(), "redundant")},
		{DstPorts: []PortRange{{5201, 5201}}, Policy: slices.Index(Names(), "ecf")},
		{DstPorts: []PortRange{{7, 7}}, Policy: 99},
	}), 0)
	for _, test := range []struct {
		port                   uint16
		name                   string
		spreads, hedges, whole bool
	}{
		{5060, "redundant", false, false, true},
		{5201, "ecf", true, false, true},
		{53, "auto", false, true, false},
		{7, "auto", false, true, false}, // no such policy
	} {
		i := s.For(udp(test.port))
		if Names()[i] != test.name || s.Spreads(i) != test.spreads || s.Hedges(i) != test.hedges || s.Whole(i) != test.whole {
			t.Errorf("port %d: %s, %v %v %v", test.port, Names()[i], s.Spreads(i), s.Hedges(i), s.Whole(i))
		}
	}
	// Copies of all are in one budget.
	paths := []Path{{ID: 1, RTT: 20 * time.Millisecond}, {ID: 2, RTT: 30 * time.Millisecond}}
	now := time.Unix(1e9, 0)
	if to := s.Pick(s.For(udp(53)), now, Packet{Key: udp(53).Key, Bytes: 100}, paths, nil); !slices.Equal(to, []int{1, 2}) {
		t.Errorf("DNS goes on %v", to)
	}
	if n := s.Hedge().Copies(AtOnce).Sent; n != 1 {
		t.Errorf("%d copies counted", n)
	}
}

// What is sparse leaves a path that is late at once, and what is bulk does not.
func TestLatePath(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		name         string
		paths        []Path
		sparse, bulk int
	}{
		{"the quick one", []Path{{ID: 1, RTT: 20 * ms, Late: true}, {ID: 2, RTT: 80 * ms}}, 2, 1},
		{"both", []Path{{ID: 1, RTT: 20 * ms, Late: true}, {ID: 2, RTT: 80 * ms, Late: true}}, 1, 1},
		{"the other stands by", []Path{{ID: 1, RTT: 20 * ms, Late: true}, {ID: 2, RTT: 10 * ms, Standby: true}}, 1, 1},
		{"both stand by", []Path{{ID: 1, RTT: 20 * ms, Late: true, Standby: true}, {ID: 2, RTT: 80 * ms, Standby: true}}, 2, 1},
	} {
		a, now := NewAuto(maphash.MakeSeed(), NewHedge(-1)), time.Unix(1e9, 0)
		well := slices.Clone(test.paths)
		for i := range well {
			well[i].Late = false
		}
		for range 3 { // it is there already
			a.Pick(now, Packet{Bytes: 200}, well, nil)
			a.Pick(now, Packet{Bytes: 200, Class: queue.Bulk, Key: queue.FlowKey{SrcPort: 1}}, well, nil)
			now = now.Add(20 * ms)
		}
		if to := a.Pick(now, Packet{Bytes: 200}, test.paths, nil); !slices.Equal(to, []int{test.sparse}) {
			t.Errorf("%s: sparse goes on %v, want %d", test.name, to, test.sparse)
		}
		if to := a.Pick(now, Packet{Bytes: 200, Class: queue.Bulk, Key: queue.FlowKey{SrcPort: 1}}, test.paths, nil); !slices.Equal(to, []int{test.bulk}) {
			t.Errorf("%s: bulk goes on %v, want %d", test.name, to, test.bulk)
		}
	}
	if id, ok := Second([]Path{{ID: 1}, {ID: 2, RTT: ms, Late: true}, {ID: 3, RTT: 90 * ms}}, 1); !ok || id != 3 {
		t.Errorf("again on %d, %v", id, ok)
	}
	if id, ok := Second([]Path{{ID: 1}, {ID: 2, RTT: ms, Late: true}}, 1); !ok || id != 2 {
		t.Errorf("again on %d, %v", id, ok)
	}
}
