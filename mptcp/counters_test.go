package mptcp

import (
	"context"
	"maps"
	"net/netip"
	"strings"
	"testing"
)

func TestParseCounters(t *testing.T) {
	const text = "TcpExt: SyncookiesSent Other\nTcpExt: 7 8\nMPTcpExt: MPCapableSYNRX Blackhole\nMPTcpExt: 3 4\n"
	got, err := parseCounters(strings.NewReader(text))
	if want := map[string]uint64{"MPCapableSYNRX": 3, "Blackhole": 4}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, broken := range []string{"", "MPTcpExt:", "MPTcpExt: A B\nMPTcpExt: 1", "MPTcpExt: A\nMPTcpExt: x 2"} {
		if _, err := parseCounters(strings.NewReader(broken)); err != nil {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

// A connection counts, and its segments are no larger than they may be.
func TestCountersAndSegments(t *testing.T) {
	l, err := Listen(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	before, err := Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []bool{true, false} {
		c, err := Dial(t.Context(), netip.MustParseAddrPort(l.Addr().String()), Options{MaxSegmentBytes: 1000, PlainTCP: plain})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if info, err := c.TCPInfo(); err != nil || info.SendMSSBytes == 0 || info.SendMSSBytes > 1000 {
			t.Errorf("plain %v: segments of %d bytes, %v", plain, info.SendMSSBytes, err)
		}
	}
	after, err := Counters()
	if err != nil || after["MPCapableSYNTX"] <= before["MPCapableSYNTX"] {
		t.Errorf("%d SYNs, then %d: %v", before["MPCapableSYNTX"], after["MPCapableSYNTX"], err)
	}
}
