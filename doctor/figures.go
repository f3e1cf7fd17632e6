package doctor

import (
	"math"
	"net/netip"
	"time"
)

// NAT is what stands between an uplink's address and the server.
type NAT string

// The kinds of NAT. How long one remembers an idle connection cannot be seen in a
// few seconds: carriers speak every five minutes at least.
const (
	NATNone    NAT = "none"          // the server sees the uplink's own address
	NATRouter  NAT = "router"        // a router translates
	NATCarrier NAT = "carrier-grade" // the provider does: the uplink's address is one of RFC 6598
)

// carrierNAT is where providers keep customers who share an address (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// UplinkFigures are an uplink's measured figures, for programs and for those who
// ask for more. Zero and empty values were not measured.
type UplinkFigures struct {
	Interface     string         `json:"interface"`
	Role          string         `json:"role"`
	Addresses     []netip.Addr   `json:"addresses"`
	Gateway4      netip.Addr     `json:"gateway4"`
	Gateway6      netip.Addr     `json:"gateway6"`
	MTUBytes      int            `json:"mtu_bytes"`
	PathMTUBytes  int            `json:"path_mtu_bytes"`
	ReachesV4     bool           `json:"reaches_ipv4"`
	ReachesV6     bool           `json:"reaches_ipv6"`
	MPTCP         bool           `json:"mptcp"`
	NAT           NAT            `json:"nat"`
	Seen          netip.AddrPort `json:"seen"` // the last connection, as the server sees it
	RTTms         float64        `json:"rtt_ms"`
	WorstRTTms    float64        `json:"worst_rtt_ms"`
	LossOutPct    float64        `json:"loss_out_pct"`
	LossInPct     float64        `json:"loss_in_pct"`
	LoadedDownMs  float64        `json:"loaded_rtt_down_ms"`
	LoadedUpMs    float64        `json:"loaded_rtt_up_ms"`
	ReversePath   string         `json:"rp_filter"`
	SharesNetwork []string       `json:"shares_network_with"`
}

func (u *Uplink) figures() UplinkFigures {
	f := UplinkFigures{
		Interface: u.Name, Role: u.Role, Addresses: u.Addresses, Gateway4: u.Gateway4, Gateway6: u.Gateway6, MTUBytes: u.MTU,
		ReversePath: "loose or off", SharesNetwork: []string{},
	}
	if f.Addresses == nil {
		f.Addresses = []netip.Addr{}
	}
	if u.Strict {
		f.ReversePath = "strict"
	}
	for _, a := range u.Alike {
		f.SharesNetwork = append(f.SharesNetwork, a.Name)
	}
	for _, w := range u.Ways {
		f.ReachesV4 = f.ReachesV4 || w.reached() && w.Server.Addr().Is4()
		f.ReachesV6 = f.ReachesV6 || w.reached() && w.Server.Addr().Is6()
		f.MPTCP = f.MPTCP || w.Data && w.ServerData
		if w.PathMTU > 0 {
			f.PathMTUBytes = w.PathMTU
		}
		if w.Vitals.Seen.Addr().IsValid() && (f.NAT == "" || w.Server.Addr().Is4()) {
			f.NAT, f.Seen = natOf(w.Vitals), w.Vitals.Seen
		}
	}
	if b := u.Beats; b != nil && b.Asked > 0 {
		f.RTTms, f.WorstRTTms = milliseconds(b.Median), milliseconds(b.Worst)
		f.LossOutPct, f.LossInPct = 100*float64(b.LostOut)/float64(b.Asked), 100*float64(b.LostIn)/float64(b.Asked)
	}
	if l := u.Load; l != nil {
		f.LoadedDownMs, f.LoadedUpMs = milliseconds(l.Down), milliseconds(l.Up)
	}
	return f
}

func natOf(v Vitals) NAT {
	switch {
	case v.Seen.Addr() == v.Local.Addr():
		return NATNone
	case carrierNAT.Contains(v.Local.Addr()):
		return NATCarrier
	}
	return NATRouter
}

// milliseconds rounds to a tenth.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e5) / 10 }
