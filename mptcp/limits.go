package mptcp

// ServerLimits are what a server's namespace needs: the most subflows that every
// kernel allows, of the clients' making, and no address that a peer announces is
// ever connected to. The kernel's default of 2 would refuse a client's fourth
// uplink.
var ServerLimits = Limits{ExtraSubflows: 8, AcceptedAddresses: 0}

// SwapLimits sets the limits and returns what was there, for RestoreLimits. They
// hold for the whole namespace and outlive the process: a daemon should store
// what was there before it goes on.
func (pm *PathManager) SwapLimits(l Limits) (before Limits, err error) {
	if before, err = pm.Limits(); err != nil || before == l {
		return before, err
	}
	return before, pm.SetLimits(l)
}

// RestoreLimits undoes a SwapLimits. Limits that someone else has set meanwhile
// are left as they are.
func (pm *PathManager) RestoreLimits(ours, before Limits) error {
	now, err := pm.Limits()
	if err != nil || now != ours || now == before {
		return err
	}
	return pm.SetLimits(before)
}
