package scheduler

// Use is what an uplink's subflows are for.
type Use int

// The uses of an uplink.
const (
	None    Use = iota // no subflows
	Standby            // subflows with the backup flag, joined and ready
	Active             // subflows that carry
)

var useNames = [...]string{"none", "standby", "active"}

// String returns the use's name, as in logs and in the status.
func (u Use) String() string { return name(useNames[:], int(u), "use") }

// Uplink is what Plan knows of one uplink.
type Uplink struct {
	Name        string
	Role        Role
	State       State
	Cap         CapLevel
	Quarantined bool // like State Quarantined, for who keeps it beside the state
}

// Decision is what Plan makes of one uplink.
type Decision struct {
	Name   string
	Use    Use
	Reason string // for people
}

// Plan decides what each uplink is used for; the decisions are in the order of
// the uplinks. engaged is OverflowControl.Engaged.
//
// A cap that is nearly spent makes a bond uplink overflow, and one that is
// spent makes any uplink a backup: so the cap is kept as long as another
// uplink works, and the connection is kept when none does. An uplink that is
// late keeps its use, since it is up again or dead within moments. One that is
// quarantined stands by. When that leaves nothing active, the best of those
// that stand by is active: bond before overflow before backup, quarantined
// last within its role, in the order given.
func Plan(uplinks []Uplink, engaged bool) []Decision {
	bondWorks, othersLive := false, false
	for _, u := range uplinks {
		if !u.lives() {
			continue
		}
		switch role := u.Effective(); {
		case role == Bond && !u.quarantined():
			bondWorks, othersLive = true, true
		case role == Bond, role == Overflow:
			othersLive = true
		}
	}
	decisions := make([]Decision, len(uplinks))
	best, active := -1, false
	for i, u := range uplinks {
		d := u.decide(engaged, bondWorks, othersLive)
		decisions[i] = d
		active = active || d.Use == Active
		if d.Use == Standby && (best < 0 || u.rank() < uplinks[best].rank()) {
			best = i
		}
	}
	if !active && best >= 0 {
		decisions[best].Use = Active
		decisions[best].Reason += ", but nothing better works"
	}
	return decisions
}

func (u Uplink) decide(engaged, bondWorks, othersLive bool) Decision {
	d := Decision{Name: u.Name}
	role := u.Effective()
	switch {
	case role == Never:
		d.Reason = "its role is never"
	case !u.lives():
		d.Reason = "it is " + u.State.String()
	case u.quarantined():
		d.Use, d.Reason = Standby, "it makes the whole slower"
	case role == Bond:
		d.Use, d.Reason = Active, "its role is bond"
	case role == Overflow && engaged:
		d.Use, d.Reason = Active, u.why()+", and the bond is full"
	case role == Overflow && !bondWorks:
		d.Use, d.Reason = Active, u.why()+", and no bond uplink works"
	case role == Backup && !othersLive:
		d.Use, d.Reason = Active, u.why()+", and no other uplink works"
	default:
		d.Use, d.Reason = Standby, u.why()
	}
	return d
}

// lives reports whether there may be subflows on the uplink.
func (u Uplink) lives() bool {
	return u.Role >= Bond && u.Role < Never && (u.State == Up || u.State == Late || u.State == Quarantined)
}

func (u Uplink) quarantined() bool { return u.Quarantined || u.State == Quarantined }

// Effective is the role that the cap leaves.
func (u Uplink) Effective() Role {
	switch {
	case u.Role < Bond || u.Role >= Never:
		return Never
	case u.Cap == CapSpent:
		return Backup
	case u.Cap == CapNear && u.Role == Bond:
		return Overflow
	}
	return u.Role
}

// rank orders those that stand by, best first.
func (u Uplink) rank() int {
	r := 2 * int(u.Effective())
	if u.quarantined() {
		r++
	}
	return r
}

// why says where an effective role comes from.
func (u Uplink) why() string {
	switch {
	case u.Effective() == u.Role:
		return "its role is " + u.Role.String()
	case u.Cap == CapSpent:
		return "its monthly cap is spent"
	}
	return "its monthly cap is nearly spent"
}
