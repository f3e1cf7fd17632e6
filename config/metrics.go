package config

import "net/netip"

// metrics reads where metrics are to be had. Without listen that is nowhere.
// taken is where others of this braid listen.
func metrics(table *node, taken []at[netip.AddrPort], errs *Errors) netip.AddrPort {
	n := table.get("listen")
	own := one(n, errs, func(text string) (netip.AddrPort, *fault) {
		at, wrong := parseListen(text)
		if wrong != nil {
			wrong.mend = `such as "127.0.0.1:9477"`
		}
		return at, wrong
	})
	apart(n, own, taken, errs)
	return own
}
