package main

import (
	"slices"

	"braid/config"
	"braid/control"
	"braid/hostnet"
	"braid/scheduler"
	"braid/tunnel"
)

// roleOf is the role of an uplink now: what was set while running, or else what
// is configured.
func (h *clientHost) roleOf(name string) config.Role {
	if r, ok := h.roles[name]; ok {
		return r
	}
	return h.cfg.Uplink(name).Role
}

// schedulerRole says a role in the tunnel's words.
func schedulerRole(r config.Role) scheduler.Role {
	role, err := scheduler.ParseRole(string(r))
	if err != nil { // config knows no others
		return scheduler.Never
	}
	return role
}

// roleChanger changes roles while the client runs.
type roleChanger struct {
	host   *clientHost
	client *tunnel.Client
}

// SetRole implements control.Changer.
func (c roleChanger) SetRole(uplink, role string) error {
	return c.host.setRole(uplink, role, c.client.SetUplinks)
}

// setRole notes a role and tells use what the tunnel may use from now on.
func (h *clientHost) setRole(uplink, role string, use func([]tunnel.Uplink)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := slices.ContainsFunc(h.found, func(u hostnet.Uplink) bool { return u.Name == uplink })
	if !known {
		err := &control.UnknownUplinkError{Uplink: uplink}
		for _, u := range h.found {
			err.Known = append(err.Known, u.Name)
		}
		return err
	}
	if role == control.RoleDefault {
		delete(h.roles, uplink)
	} else {
		h.roles[uplink] = config.Role(role)
	}
	h.setUplinksLocked(h.found, use)
	return nil
}

var _ control.Changer = roleChanger{}
