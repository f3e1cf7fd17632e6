package config

import (
	"net/netip"
	"slices"
)

// Dashboard is where the web dashboard is.
type Dashboard struct {
	Listen    netip.AddrPort // the zero value: nowhere
	TokenFile string         // absolute when the file's folder is known; "": none, and Listen is a loopback address
}

// views reads where braid shows itself to others than its own commands. taken is
// where a server listens for clients.
func views(root *node, dir string, taken []at[netip.AddrPort], errs *Errors) (netip.AddrPort, Dashboard) {
	scraped := root.get("metrics")
	m := metrics(scraped, taken, errs)
	if m.IsValid() {
		taken = append(slices.Clip(taken), at[netip.AddrPort]{m, scraped.get("listen")})
	}
	return m, dashboard(root.get("dashboard"), dir, taken, errs)
}

// dashboard reads the [dashboard] table of both files. taken is where others of
// this braid listen.
func dashboard(n *node, dir string, taken []at[netip.AddrPort], errs *Errors) Dashboard {
	d := Dashboard{TokenFile: tokenFile(n.get("token_file"), dir, errs)}
	own := n.get("listen")
	d.Listen = one(own, errs, parseDashboardListen)
	if !d.Listen.IsValid() {
		if token := n.get("token_file"); own == nil && token != nil && !errs.touches(n.path+".listen") {
			errs.add(token, "means nothing without listen", `add listen = "127.0.0.1:8477"`)
		}
		return d
	}
	apart(own, d.Listen, taken, errs)
	if n.get("token_file") == nil && !d.Listen.Addr().IsLoopback() && !errs.touches(n.path+".token_file") {
		absent := &node{offset: own.offset, line: own.line, path: n.path + ".token_file"}
		errs.addHidden(absent, "missing, it must be set: everybody who reaches "+d.Listen.String()+" could look",
			`add token_file = "dashboard.token", which is made if it is not there, or listen on 127.0.0.1`)
	}
	return d
}

func parseDashboardListen(text string) (netip.AddrPort, *fault) {
	a, wrong := parseListen(text)
	if wrong != nil {
		wrong.mend = `such as "127.0.0.1:8477" or ":8477"`
	}
	return a, wrong
}

// tokenFile reads the path of the token, and makes it absolute from the folder
// dir, unless that is "".
func tokenFile(n *node, dir string, errs *Errors) string {
	if n == nil {
		return ""
	}
	path, wrong := parseFile(n.str, dir)
	if wrong != nil {
		if wrong.mend == "" {
			wrong.mend = `such as "dashboard.token"`
		}
		errs.add(n, wrong.problem, wrong.mend)
	}
	return path
}
