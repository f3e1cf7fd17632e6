package config

import "net/netip"

// metrics reads where metrics are to be had. Without listen that is nowhere.
func metrics(table *node, errs *Errors) netip.AddrPort {
	return one(table.get("listen"), errs, func(text string) (netip.AddrPort, *fault) {
		at, wrong := parseListen(text)
		if wrong != nil {
			wrong.mend = `such as "127.0.0.1:9477"`
		}
		return at, wrong
	})
}

// metricsApart notes metrics where a server listens for its clients.
func metricsApart(table *node, metrics netip.AddrPort, listening []at[netip.AddrPort], errs *Errors) {
	for _, v := range listening {
		if v.value.Port() == metrics.Port() && (v.value == metrics || takesAll(v.value.Addr(), metrics.Addr()) || takesAll(metrics.Addr(), v.value.Addr())) {
			errs.add(table.get("listen"), "overlaps "+v.node.place(), "choose another port, such as 9477")
			return
		}
	}
}
