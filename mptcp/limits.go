package mptcp

// ServerLimits are what a server's namespace needs: the most subflows that every
// kernel allows, of the clients' making, and no address that a peer announces is
// ever connected to. The kernel's default of 2 would refuse a client's fourth
// uplink.
var ServerLimits = Limits{ExtraSubflows: extraSubflows, AcceptedAddresses: 0}

// MostSubflows is how many subflows a connection to a server with ServerLimits can
// have: the initial one, and those that join. Kernels allow no more (MPTCP_PM_ADDR_MAX in
// net/mptcp/protocol.h is 8).
const MostSubflows = 1 + extraSubflows

const extraSubflows = 8

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
