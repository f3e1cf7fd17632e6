package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"braid/config"
	"braid/hostnet"
	"braid/tunnel"
)

// What it costs to make an event of a client's status with 1,000 streams, of which
// 100 are listed, each on two uplinks: the words of the control API and their JSON.
// BenchmarkStatusOfStreams of package tunnel is what comes before.
func BenchmarkStatusEvent(b *testing.B) {
	s := tunnel.ClientStatus{Connected: true, MPTCP: true}
	for i := range 100 {
		s.Streams.List = append(s.Streams.List, tunnel.StreamStatus{
			Source: netip.MustParseAddrPort("10.77.0.2:51234"), Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 443),
			Outbound: true, Age: time.Duration(i) * time.Second, State: tunnel.StreamOpen, RxBytes: 123_456_789, TxBytes: 1_234_567, RxBps: 1.2345e6, TxBps: 54_321, Carrier: uint64(i),
			Uplinks: []tunnel.UplinkShare{{Uplink: "dsl", RxBytes: 100_000_000, TxBytes: 1_000_000}, {Uplink: "lte", RxBytes: 23_456_789, TxBytes: 234_567}},
		})
	}
	s.Streams.ListTotal, s.Streams.Open = 1000, 1000
	for i := range 100 {
		s.Events = append(s.Events, tunnel.UplinkEvent{Time: time.Unix(int64(i), 0), Uplink: "lte", Reason: "no answer for 140 ms"})
	}
	var found []hostnet.Uplink
	for _, name := range []string{"dsl", "lte"} {
		found = append(found, hostnet.Uplink{Name: name})
		s.Usage = append(s.Usage, tunnel.UplinkUsage{Uplink: name, RxBytes: 1 << 40, RTT: 31 * time.Millisecond, Subflows: 100})
		s.Paths = append(s.Paths, tunnel.PathStatus{Uplink: name})
	}
	cfg := &config.Client{}
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		event, err := json.Marshal(clientStatus(cfg, s, found, func(string) config.Role { return config.RoleBond }, nil))
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		out.Write(event)
	}
	b.ReportMetric(float64(out.Len()), "bytes/event")
}
