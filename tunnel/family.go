package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// familyError says that no address of an uplink, or of any, reaches a server,
// whose addresses are all of the other family. It is an ErrNoUplink.
type familyError struct {
	v6  bool   // what the server has
	via string // the uplink, "" for all
}

func (e *familyError) family() string {
	if e.v6 {
		return "IPv6"
	}
	return "IPv4"
}

func (e *familyError) Error() string {
	if e.via == "" {
		return fmt.Sprintf("no usable uplink has %s, and the server is known by %[1]s alone", e.family())
	}
	return fmt.Sprintf("%s has no %s, and the server is known by %[2]s alone", e.via, e.family())
}

// reason says it in the status of an uplink.
func (e *familyError) reason() string {
	return fmt.Sprintf("it has no %s, and the server is known by %[1]s alone", e.family())
}

// Unwrap makes it an ErrNoUplink.
func (e *familyError) Unwrap() error { return ErrNoUplink }

// unreachable says why there is no candidate: for want of uplinks, or of the
// server's family.
func unreachable(servers []netip.AddrPort, uplinks []Uplink) error {
	if len(servers) == 0 || len(uplinks) == 0 {
		return fmt.Errorf("reach %v: %w", servers, ErrNoUplink)
	}
	// Had the server both families, any uplink would do.
	e := &familyError{v6: servers[0].Addr().Unmap().Is6()}
	if len(uplinks) == 1 {
		e.via = uplinks[0].Name
	}
	return e
}

// lack notes of each uplink that it has no address of the server's family, if that
// is why there is no session: without one no uplink is tried by itself.
func (k *pathKeeper) lack(err error) {
	e, ok := errors.AsType[*familyError](err)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.paths {
		if p.present && p.end == nil {
			p.health.Disconnected(time.Now(), e.reason())
		}
	}
	k.poke()
}
