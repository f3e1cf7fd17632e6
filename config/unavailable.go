package config

// missingFeature is a value that is valid but does nothing yet. Using it is an
// error, for whoever sets a kill switch relies on it.
type missingFeature struct {
	key  string
	used func(*node) bool
	why  string // what this version does not do
	mend string
}

// What each file may say but not yet use. A row goes when its feature comes.
var (
	serverMissing []missingFeature
	clientMissing = []missingFeature{
		{"tunnel.kill_switch", isTrue, "it does not block traffic beside the tunnel", "leave it out"},
	}
)

func isTrue(n *node) bool { return n.flag }

// checkMissing notes the use of features that are not there yet. It comes
// after all other checks: a value that is wrong anyhow is noted only once.
func checkMissing(n *node, missing []missingFeature, errs *Errors) {
	if n.bad {
		return
	}
	for _, m := range missing {
		if n.field != nil && n.field.key == m.key && m.used(n) && !errs.touches(n.path) {
			errs.add(n, "not available in this version: "+m.why, m.mend)
		}
	}
	for _, name := range n.names {
		checkMissing(n.fields[name], missing, errs)
	}
	for _, item := range n.items {
		checkMissing(item, missing, errs)
	}
}
