package hostnet

import (
	"fmt"
	"net/netip"
)

// Forward is a range of ports of this host that leads to another one by the
// TUN. One Forward is of one protocol and one family.
type Forward struct {
	// Listen is the address of this host; invalid: all of them but the
	// loopback's and the TUN's own.
	Listen      netip.Addr
	UDP         bool   // TCP otherwise
	First, Last uint16 // ports, both included
	// To is the other host, of the family of Listen. Port 0 keeps the port;
	// a range can do no other.
	To netip.AddrPort
	// Masquerade puts this host's own address in place of the source: for
	// hosts that would send their answers elsewhere. It is the same for all
	// forwards that lead to one port.
	Masquerade bool
}

// Passage lets connections begin that come from the TUN and leave by it.
type Passage struct {
	From, To    netip.Prefix // of one family; invalid: any
	TCP         bool         // any protocol otherwise
	First, Last uint16       // destination ports of TCP, both included; both 0: any
}

func (f Forward) validate() error {
	to := f.To.Addr()
	switch {
	case !to.IsValid() || to.Is4In6() || f.Listen.IsValid() && (f.Listen.BitLen() != to.BitLen() || f.Listen.Is4In6()):
		return fmt.Errorf("forward %v: not two addresses of one family", f)
	case f.First == 0 || f.Last < f.First:
		return fmt.Errorf("forward %v: not a range of ports", f)
	case f.First != f.Last && f.To.Port() != 0:
		return fmt.Errorf("forward %v: a range keeps its ports", f)
	}
	return nil
}

func (p Passage) validate() error {
	switch {
	case p.From.IsValid() && p.To.IsValid() && p.From.Addr().BitLen() != p.To.Addr().BitLen() ||
		p.From.Addr().Is4In6() || p.To.Addr().Is4In6():
		return fmt.Errorf("passage %v: not two networks of one family", p)
	case p.First > p.Last || p.First == 0 && p.Last != 0 || p.Last != 0 && !p.TCP:
		return fmt.Errorf("passage %v: not a range of ports of TCP", p)
	}
	return nil
}
