package tunnel

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"braid/scheduler/policy"
	"braid/tunnel/wire"
)

// ruled is a lane with two paths whose policies are chosen by rules, all for
// packets to a network each.
func ruled(t *testing.T, rules map[string]string) (l *packetLane, a, b *packetPath) {
	t.Helper()
	var list []policy.Rule
	for dst, name := range rules {
		list = append(list, policy.Rule{Dst: []netip.Prefix{netip.MustParsePrefix(dst)}, Policy: slices.Index(policy.Names(), name)})
	}
	l = newPacketLane(wire.SessionID{1}, PacketPolicies{Rules: policy.NewRules(list)}, nil)
	say := func([]byte) error { return nil }
	a, b = l.newPath(false, say), l.newPath(false, say)
	now := time.Now()
	a.attach(now, true, false)
	b.attach(now, true, false)
	a.tellRTT(30 * time.Millisecond)
	b.tellRTT(60 * time.Millisecond)
	t.Cleanup(l.close)
	return l, a, b
}

// sent is how many packets a path has to send now; they are sent then.
func sent(now time.Time, p *packetPath) (n int) {
	for p.backlog() {
		frames, _ := p.take(now, nil)
		p.wrote()
		n += len(frames)
	}
	return n
}

// A flow's packets go where the policy of the first rule that they meet says.
func TestRules(t *testing.T) {
	l, a, b := ruled(t, map[string]string{"192.0.2.0/24": "redundant", "192.0.3.0/24": "minrtt", "192.0.4.0/24": "roundrobin"})
	now := time.Now()
	for _, tt := range []struct {
		dst  string
		a, b int
	}{
		{"192.0.2.1", 10, 10},
		{"192.0.3.1", 10, 0},
		{"192.0.4.1", 5, 5},
		{"198.51.100.7", 10, 0}, // auto, and too long for copies
	} {
		onA, onB := 0, 0
		for i := range 10 {
			l.push(now, []*parcel{newParcel(thick("10.77.0.2", tt.dst, i))})
			onA, onB = onA+sent(now, a), onB+sent(now, b)
			now = now.Add(20 * time.Millisecond)
		}
		if onA != tt.a || onB != tt.b {
			t.Errorf("to %s: %d and %d packets, want %d and %d", tt.dst, onA, onB, tt.a, tt.b)
		}
	}
}

// The thinnest flows have a copy of each packet on the second path.
func TestCopiesAtOnce(t *testing.T) {
	l, a, b := ruled(t, nil)
	now := time.Now()
	for i := range 10 {
		l.push(now, []*parcel{newParcel(numbered("10.77.0.2", "198.51.100.7", i))})
		if x, y := sent(now, a), sent(now, b); x != 1 || y != 1 {
			t.Fatalf("packet %d: %d and %d", i, x, y)
		}
		now = now.Add(20 * time.Millisecond)
	}
	if n := l.policies.Hedge().Copies(policy.AtOnce); n.Sent != 10 {
		t.Errorf("%+v", n)
	}
}
