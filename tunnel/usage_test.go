package tunnel

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"braid/scheduler"
)

func TestUsage(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	dsl := Subflow{Uplink: "dsl", Local: at("198.51.100.1:1000"), Remote: at("192.0.2.1:443"), RTT: 30 * time.Millisecond}
	lte := Subflow{Uplink: "lte", Local: at("203.0.113.1:1000"), Remote: at("192.0.2.1:443"), RTT: 60 * time.Millisecond}
	now := time.Unix(1000, 0)
	var u usage
	u.sample(now, []Subflow{dsl, lte})

	// One second at 8 Mb/s down on dsl, 800 kb/s up on lte with 10 % sent again.
	now = now.Add(time.Second)
	dsl.RxBytes = 1_000_000
	lte.TxBytes, lte.TxSegments, lte.Retransmission = 100_000, 100, 10
	u.sample(now, []Subflow{dsl, lte})
	list := u.snapshot()
	if len(list) != 2 || list[0].Uplink != "dsl" || list[1].Uplink != "lte" {
		t.Fatalf("uplinks %+v", list)
	}
	if d := list[0]; d.RxBytes != 1_000_000 || math.Round(d.RxBps) != 8_000_000 || d.TxBps != 0 || d.RTT != dsl.RTT || d.Subflows != 1 {
		t.Errorf("dsl %+v", d)
	}
	if l := list[1]; l.TxBytes != 100_000 || math.Round(l.TxBps) != 800_000 || math.Round(l.LossPct) != 10 {
		t.Errorf("lte %+v", l)
	}

	// dsl dies; a second subflow joins lte; the totals stay, the rates fall.
	now = now.Add(500 * time.Millisecond)
	second := lte
	second.Local, second.TxBytes, second.TxSegments, second.Retransmission = at("203.0.113.1:1001"), 50_000, 50, 0
	second.RTT = 50 * time.Millisecond
	u.sample(now, []Subflow{lte, second})
	list = u.snapshot()
	if d := list[0]; d.Subflows != 0 || d.RxBytes != 1_000_000 || math.Round(d.RxBps) != 4_000_000 || d.RTT != 0 {
		t.Errorf("dsl after its death %+v", d)
	}
	if l := list[1]; l.Subflows != 2 || l.TxBytes != 150_000 || l.RTT != second.RTT {
		t.Errorf("lte with two %+v", l)
	}

	// dsl returns on the same ports: its counters begin anew.
	now = now.Add(500 * time.Millisecond)
	dsl.RxBytes = 7
	u.sample(now, []Subflow{lte, second, dsl})
	if d := u.snapshot()[0]; d.RxBytes != 1_000_007 || d.Subflows != 1 {
		t.Errorf("dsl after its return %+v", d)
	}
}

// A server does not know the names of its clients' uplinks; the address that
// they come from stands for them.
func TestUsageWithoutNames(t *testing.T) {
	var u usage
	u.sample(time.Unix(1, 0), []Subflow{{Remote: netip.MustParseAddrPort("[::ffff:198.51.100.1]:7")}})
	if l := u.snapshot(); len(l) != 1 || l[0].Uplink != "198.51.100.1" {
		t.Errorf("uplinks %+v", l)
	}
}

func TestUsageTimeStandsStill(t *testing.T) {
	var u usage
	now := time.Unix(1, 0)
	s := Subflow{Uplink: "dsl", Local: netip.MustParseAddrPort("198.51.100.1:1"), Remote: netip.MustParseAddrPort("192.0.2.1:443")}
	u.sample(now, []Subflow{s})
	s.RxBytes = 100
	u.sample(now, []Subflow{s})
	if l := u.snapshot()[0]; l.RxBytes != 100 || l.RxBps != 0 || math.IsNaN(l.RxBps) {
		t.Errorf("usage %+v", l)
	}
}

// A server knows uplinks by addresses, which change: those of long ago are
// forgotten when there are many, and never one that is in use.
func TestUsageForgets(t *testing.T) {
	subflow := func(i int) Subflow {
		return Subflow{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 7), RxBytes: 10}
	}
	var all []Subflow
	for i := range usageMost + 10 {
		all = append(all, subflow(i))
	}
	kept := all[3]
	now := time.Unix(1000, 0)
	var u usage
	u.sample(now, all)
	now = now.Add(2 * usageKept)
	u.sample(now, all)
	if n := len(u.snapshot()); n != len(all) {
		t.Fatalf("%d of %d uplinks with subflows are known", n, len(all))
	}
	now = now.Add(usageKept)
	u.sample(now, []Subflow{kept})
	if n := len(u.snapshot()); n != len(all) {
		t.Errorf("%d of %d uplinks are known soon after", n, len(all))
	}
	now = now.Add(time.Second)
	u.sample(now, []Subflow{kept})
	list := u.snapshot()
	if len(list) != usageMost || len(u.seen) != usageMost {
		t.Errorf("%d uplinks are kept, and %d times, want %d", len(list), len(u.seen), usageMost)
	}
	for _, up := range list {
		if up.Uplink == kept.uplinkName() && up.Subflows == 1 && up.RxBytes == 10 {
			return
		}
	}
	t.Errorf("the one in use is not among %+v", list)
}

// A few are remembered for as long as the session lives.
func TestUsageRemembersFew(t *testing.T) {
	var u usage
	now := time.Unix(1000, 0)
	u.sample(now, []Subflow{{Uplink: "dsl"}, {Uplink: "lte"}})
	u.sample(now.Add(1000*usageKept), []Subflow{{Uplink: "dsl"}})
	if n := len(u.snapshot()); n != 2 {
		t.Errorf("%d uplinks are known, want 2", n)
	}
}

// What an uplink delivered at most is told of all its subflows together, and of
// those that are gone; what was sent counts when it is acknowledged.
func TestUsageOfDelivery(t *testing.T) {
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), port) }
	var u usage
	now := time.Unix(1000, 0)
	flows := []Subflow{{Uplink: "dsl", Local: at(1)}, {Uplink: "dsl", Local: at(2)}, {Uplink: "dsl", Local: at(3), Path: true}}
	for range 9 { // four seconds of 8, 16 and 8 Mb/s down, of 1.6 Mb/s up
		u.sample(now, flows)
		now = now.Add(500 * time.Millisecond)
		flows[0].RxBytes += 500_000
		flows[1].RxBytes += 1_000_000
		flows[1].TxBytes += 900_000
		flows[1].AckedBytes += 100_000
		flows[2].RxBytes += 500_000
	}
	check := func(when string) {
		t.Helper()
		if d := u.snapshot()[0]; math.Round(float64(d.DeliverRx)) != 32e6 || math.Round(float64(d.DeliverTx)) != 1.6e6 {
			t.Errorf("%s: %+v", when, d)
		}
	}
	check("while it moves")
	if n := u.snapshot()[0].Subflows; n != 2 {
		t.Errorf("%d subflows", n)
	}
	for range 10 {
		u.sample(now, nil)
		now = now.Add(time.Second)
	}
	check("with its subflows gone")
}

// The handshake of a path carrier is not all that its uplink can do.
func TestCapacityIsOfBonds(t *testing.T) {
	var u usage
	now := time.Unix(1000, 0)
	flows := []Subflow{{Uplink: "phone", Path: true}}
	for range 4 {
		u.sample(now, flows)
		now = now.Add(500 * time.Millisecond)
		flows[0].RxBytes += 10_000
		flows[0].TxBytes += 10_000
		flows[0].AckedBytes += 10_000
		flows[0].TxSegments += 400
		flows[0].Retransmission += 100
	}
	for _, in := range []bool{true, false} {
		if l := u.line("phone", in); l.Rate != 0 || l.Loss != 0 {
			t.Errorf("in %v: %+v", in, l)
		}
	}
	if s := u.snapshot()[0]; s.RxBytes != 30_000 || s.TxBytes != 30_000 {
		t.Errorf("%+v", s)
	}
}

// A conversation that uses little of an uplink says nothing of what it can carry:
// that would shut it out for good. A queue says so.
func TestConversationIsNoCapacity(t *testing.T) {
	u := usage{guesses: map[string]scheduler.BitRate{"lte": 20e6}}
	now := time.Unix(1000, 0)
	flows := []Subflow{{Uplink: "lte"}, {
		Uplink: "lte", Path: true, RTT: 60 * time.Millisecond, MinRTT: 58 * time.Millisecond, Local: netip.MustParseAddrPort("10.2.0.2:2"),
	}}
	carry := func(bytes uint64) {
		for range 10 {
			u.sample(now, flows)
			now = now.Add(500 * time.Millisecond)
			flows[0].RxBytes += bytes
		}
	}
	const talk = 20_000
	carry(talk)
	if l := u.line("lte", true); l.Rate != 20e6 {
		t.Errorf("%+v", l)
	}
	// Packets take longer, and too few bytes came to be what they wait behind.
	flows[1].RTT = 200 * time.Millisecond
	carry(talk)
	if l := u.line("lte", true); l.Rate != 20e6 {
		t.Errorf("with jitter: %+v", l)
	}
	carry(250_000)
	if l := u.line("lte", true); l.Rate != 4e6 {
		t.Errorf("with a queue: %+v", l)
	}
}

// Where bulk among the packets fills an uplink, what is left for streams is not all
// that it can carry.
func TestCapacityBesideBulkPackets(t *testing.T) {
	var u usage
	now := time.Unix(1000, 0)
	flows := []Subflow{{Uplink: "lte"}, {
		Uplink: "lte", Path: true, RTT: 300 * time.Millisecond, MinRTT: 200 * time.Millisecond, Local: netip.MustParseAddrPort("10.2.0.2:2"),
	}}
	for range 10 { // 24 and 3 Mb/s
		u.sample(now, flows)
		now = now.Add(500 * time.Millisecond)
		flows[0].RxBytes += 187_500
		flows[0].AckedBytes += 187_500
		flows[1].RxBytes += 1_500_000
		flows[1].AckedBytes += 1_500_000
	}
	for _, in := range []bool{true, false} {
		if l := u.line("lte", in); l.Rate != 27e6 {
			t.Errorf("in %v: %+v", in, l)
		}
	}
}

// What was counted before the client said which uplink it is, is that uplink's.
func TestUsageOfOneThatIsNamed(t *testing.T) {
	now := time.Unix(1000, 0)
	flows := []Subflow{
		{Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("198.51.100.6:1000"), RxBytes: 1000, TxBytes: 100, WireBytes: 2000},
		{Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("198.51.100.6:1001"), RxBytes: 500},
		{Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("203.0.113.9:1000"), RxBytes: 7},
	}
	var u usage
	for range 3 {
		u.sample(now, flows)
		now = now.Add(time.Second)
		flows[0].Uplink, flows[1].Uplink = "dsl", "dsl"
	}
	list := u.snapshot()
	if len(list) != 2 || list[0].Uplink != "203.0.113.9" || list[1].Uplink != "dsl" || list[1].Subflows != 2 ||
		list[1].RxBytes != 1500 || list[1].TxBytes != 100 || list[1].WireBytes != 2000 {
		t.Errorf("%+v", list)
	}
}
