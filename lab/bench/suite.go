package main

import (
	"context"

	"braid/lab/topology"
)

// suite is a network and what is measured in it. Either net and measure are
// set, and the contenders' stages stand beside each other all the while; or own
// is, which builds the stages itself.
type suite struct {
	name       string
	group      string // another name, for several suites together
	named      bool   // takes so long that it runs only when named
	about      string
	contenders []string // unless others are chosen
	net        func() topology.Config
	measure    func(context.Context, *bench, *suite, []*stage) error
	own        func(context.Context, *bench, *suite) error
}

func (s *suite) answersTo(name string) bool { return name == s.name || name == s.group }

func fast() topology.Config { return topology.Fast(2) }

var suites = []*suite{
	{
		name: "unshaped", about: "two uplinks without limits: what the code and the kernel can do", net: fast,
		contenders: []string{"braid", "mptcp", "wireguard-go"}, measure: transfers(unshapedRuns),
	},
	{
		name: "cellA", about: "DSL 50/10 Mb/s 30 ms, LTE 30/10 Mb/s 60 ms", net: topology.CellA,
		contenders: []string{"braid", "mptcp"}, measure: transfers(cellRuns),
	},
	{
		name: "cellB", about: "the same, but LTE 200 ms with 0.5 % loss", net: topology.CellB,
		contenders: []string{"braid", "mptcp"}, measure: transfers(cellRuns),
	},
	{
		name: "cellC", about: "the same, but LTE with 2 % loss", net: topology.CellC,
		contenders: []string{"braid", "mptcp"}, measure: transfers(cellRuns),
	},
	{
		name: "requests", about: "cell A: 100 KB on a new connection, one after another; and connections alone", net: topology.CellA,
		contenders: []string{"braid", "mptcp", "best-uplink"}, measure: requests,
	},
	{
		name: "streams", about: "two uplinks without limits: what idle connections cost", net: fast,
		contenders: []string{"braid"}, measure: idleStreams,
	},
	{
		name: "grid", named: true, about: "pairs of uplinks: the bond beside the better one alone",
		contenders: []string{"braid", "mptcp"}, own: grid,
	},
	{
		name: "failoverA", group: "failover", named: true, about: "cell A: uplinks that die and return", net: topology.CellA,
		contenders: []string{"braid", "mptcp"}, own: failover,
	},
	{
		name: "failoverB", group: "failover", named: true, about: "cell B: uplinks that die and return", net: topology.CellB,
		contenders: []string{"braid", "mptcp"}, own: failover,
	},
	{
		name: "calmA", group: "calm", named: true, about: "cell A: a call beside downloads and an upload", net: topology.CellA,
		contenders: []string{"braid", "mptcp"}, measure: calm,
	},
	{
		name: "calmB", group: "calm", named: true, about: "cell B: a call beside downloads and an upload", net: topology.CellB,
		contenders: []string{"braid", "mptcp"}, measure: calm,
	},
	{
		name: "calmC", group: "calm", named: true, about: "cell C: a call beside downloads and an upload", net: topology.CellC,
		contenders: []string{"braid", "mptcp"}, measure: calm,
	},
	{
		name: "packetsA", group: "packets", named: true, about: "cell A: bulk over UDP and QUIC", net: topology.CellA,
		contenders: []string{"braid", "best-uplink"}, measure: transfers(packetRuns),
	},
	{
		name: "packetsB", group: "packets", named: true, about: "cell B: bulk over UDP and QUIC", net: topology.CellB,
		contenders: []string{"braid", "best-uplink"}, measure: transfers(packetRuns),
	},
	{
		name: "packetsC", group: "packets", named: true, about: "cell C: bulk over UDP and QUIC", net: topology.CellC,
		contenders: []string{"braid", "best-uplink"}, measure: transfers(packetRuns),
	},
	{
		name: "redundant", named: true, about: "cell A with a loss of 2 % on both uplinks: a call that takes both", net: lossyCell,
		contenders: []string{"braid-redundant", "braid", "best-uplink"}, measure: callAlone,
	},
	{
		name: "idle", named: true, about: "cell A: a tunnel that nobody uses", net: topology.CellA,
		contenders: []string{"braid", "braid-metered"}, measure: idleTunnel,
	},
	{
		name: "overflow", named: true, about: "DSL 20/5 Mb/s, and LTE 30/10 Mb/s that is to carry only what must be",
		contenders: []string{"braid"}, own: overflow,
	},
	{
		name: "speedtestA", group: "speedtest", named: true, about: "cell A: what braid speedtest tells, beside what the emulator carries", net: topology.CellA,
		contenders: []string{"braid"}, measure: speedtests,
	},
	{
		name: "speedtestB", group: "speedtest", named: true, about: "cell B: what braid speedtest tells, beside what the emulator carries", net: topology.CellB,
		contenders: []string{"braid"}, measure: speedtests,
	},
	{
		name: "speedtestC", group: "speedtest", named: true, about: "cell C: what braid speedtest tells, beside what the emulator carries", net: topology.CellC,
		contenders: []string{"braid"}, measure: speedtests,
	},
}

// suiteNames is what can be asked for.
func suiteNames() []string {
	var list []string
	for _, s := range suites {
		if s.group != "" && (len(list) == 0 || list[len(list)-1] != s.group) {
			list = append(list, s.group)
			continue
		}
		if s.group == "" {
			list = append(list, s.name)
		}
	}
	return list
}
