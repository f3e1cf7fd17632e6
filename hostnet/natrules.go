package hostnet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The chains of our table.
const (
	chainPrerouting  = "prerouting"  // port forwards
	chainOutput      = "output"      // the same for connections of this host's own
	chainForward     = "forward"     // new connections from the device to the device
	chainBetween     = "between"     // which of them may pass
	chainRedirects   = "redirects"   // what the kernel would tell who is at the device
	chainPostrouting = "postrouting" // masquerading
)

// natRule is one rule of our table.
type natRule struct {
	chain   string
	comment string // what it does, by which it is known again
	exprs   []expr.Any
}

// line is the rule in short.
func (r natRule) line() string { return r.chain + ": " + r.comment }

// lines are all rules in short, in the order in which NAT of a Host gives them.
func (n NAT) lines() (out []string) {
	for _, r := range n.rules() {
		out = append(out, r.line())
	}
	return out
}

// rules are the table's rules, chain by chain in the order of natChains.
func (n NAT) rules() (out []natRule) {
	add := func(chain, comment string, exprs ...[]expr.Any) {
		r := natRule{chain: chain, comment: comment}
		for _, e := range exprs {
			r.exprs = append(r.exprs, e...)
		}
		out = append(out, r)
	}
	from, to := named(expr.MetaKeyIIFNAME, expr.CmpOpEq, n.Device), named(expr.MetaKeyOIFNAME, expr.CmpOpEq, n.Device)
	elsewhere := named(expr.MetaKeyOIFNAME, expr.CmpOpNeq, n.Device)
	masquerade := []expr.Any{&expr.Masq{}}

	for _, chain := range []string{chainPrerouting, chainOutput} {
		var anywhere bool
		for _, f := range n.Forwards {
			if !f.Listen.IsValid() {
				anywhere = true
				continue
			}
			add(chain, f.String(), f.listens(), f.translate())
		}
		if !anywhere {
			continue
		}
		// From the loopback nothing can leave the host.
		not := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.PrefixFrom(netip.IPv6Loopback(), 128)}
		for _, a := range n.Addresses {
			not = append(not, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
		for _, p := range not {
			add(chain, "not at "+p.String(), network(destination, p), verdict(expr.VerdictAccept, ""))
		}
		for _, f := range n.Forwards {
			if !f.Listen.IsValid() {
				add(chain, f.String(), f.listens(), f.translate())
			}
		}
	}
	if len(n.Passages) > 0 {
		// Who comes by a port forward is welcome, whoever it is.
		add(chainBetween, "forwarded ports", forwarded(), verdict(expr.VerdictAccept, ""))
		for _, p := range n.Passages {
			add(chainBetween, p.String(), p.match(), verdict(expr.VerdictAccept, ""))
		}
		add(chainBetween, "drop", verdict(expr.VerdictDrop, ""))
		add(chainForward, "new from "+n.Device+" to "+n.Device, from, to, isNew(), verdict(expr.VerdictJump, chainBetween))
	}
	if len(n.Passages)+len(n.Forwards) > 0 {
		// A packet leaves by the device that it came by: there is no shorter
		// way, whatever the kernel thinks. Of IPv6 it needs a link-local
		// address to say so, which the device has not.
		add(chainRedirects, "no redirects", to, ofFamily(false), transport(unix.IPPROTO_ICMP), redirect(), verdict(expr.VerdictDrop, ""))
	}
	if len(n.Forwards) > 0 {
		// The answers of those at the device would not come back here: they
		// know where the other one is.
		add(chainPostrouting, "masquerade forwarded from "+n.Device+" to "+n.Device, from, to, forwarded(), masquerade)
		add(chainPostrouting, "masquerade forwarded from this host", to, forwarded(), local(false), masquerade)
	}
	for _, f := range n.Forwards {
		if f.Masquerade {
			add(chainPostrouting, "masquerade "+f.String(), to, forwarded(), f.arrives(), masquerade)
		}
	}
	for _, p := range n.Masquerade {
		add(chainPostrouting, "masquerade "+p.String(), from, elsewhere, network(source, p), masquerade)
	}
	var families [2]bool
	for _, p := range n.Sources {
		families[familyIndex(p.Addr())] = true
		add(chainPostrouting, "keep "+p.String(), to, network(source, p), verdict(expr.VerdictAccept, ""))
	}
	for i, any := range families {
		if any {
			add(chainPostrouting, "masquerade all else of "+[]string{"IPv4", "IPv6"}[i],
				named(expr.MetaKeyIIFNAME, expr.CmpOpNeq, n.Device), to, ofFamily(i == 1), masquerade)
		}
	}
	return out
}

// String is the forward in short: "tcp :6000-6100 to 10.77.0.2".
func (f Forward) String() string {
	protocol, host, target := "tcp", "", f.To.Addr().String()
	if f.UDP {
		protocol = "udp"
	}
	switch {
	case f.Listen.Is6():
		host = "[" + f.Listen.String() + "]"
	case f.Listen.IsValid():
		host = f.Listen.String()
	}
	if f.To.Port() != 0 {
		target = f.To.String()
	}
	return fmt.Sprintf("%s %s:%s to %s", protocol, host, portRange(f.First, f.Last), target)
}

// portRange is "80" or "80-90".
func portRange(first, last uint16) string {
	if last == first {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func (f Forward) protocol() byte {
	if f.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// listens matches what comes to the forward.
func (f Forward) listens() []expr.Any {
	out := ofFamily(f.To.Addr().Is6())
	if f.Listen.IsValid() {
		out = network(destination, netip.PrefixFrom(f.Listen, f.Listen.BitLen()))
	} else {
		out = append(out, local(true)...)
	}
	return append(append(out, transport(f.protocol())...), ports(f.First, f.Last)...)
}

// translate gives the packet its new destination.
func (f Forward) translate() []expr.Any {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}
	if f.To.Addr().Is6() {
		nat.Family = unix.NFPROTO_IPV6
	}
	out := []expr.Any{&expr.Immediate{Register: 1, Data: f.To.Addr().AsSlice()}}
	if f.To.Port() != 0 {
		nat.RegProtoMin, nat.Specified = 2, true
		out = append(out, &expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, f.To.Port())})
	}
	return append(out, nat)
}

// arrives matches what was translated.
func (f Forward) arrives() []expr.Any {
	first, last := f.First, f.Last
	if p := f.To.Port(); p != 0 {
		first, last = p, p
	}
	out := network(destination, netip.PrefixFrom(f.To.Addr(), f.To.Addr().BitLen()))
	return append(append(out, transport(f.protocol())...), ports(first, last)...)
}

// String is the passage in short: "from 10.77.0.2/32 to 10.77.0.3/32 tcp 80".
func (p Passage) String() string {
	var parts []string
	if p.From.IsValid() {
		parts = append(parts, "from "+p.From.String())
	}
	if p.To.IsValid() {
		parts = append(parts, "to "+p.To.String())
	}
	if p.TCP {
		parts = append(parts, "tcp")
	}
	if p.First != 0 {
		parts = append(parts, portRange(p.First, p.Last))
	}
	return strings.Join(parts, " ")
}

func (p Passage) match() (out []expr.Any) {
	if p.From.IsValid() {
		out = append(out, network(source, p.From)...)
	}
	if p.To.IsValid() {
		out = append(out, network(destination, p.To)...)
	}
	if p.TCP {
		out = append(out, transport(unix.IPPROTO_TCP)...)
	}
	if p.First != 0 {
		out = append(out, ports(p.First, p.Last)...)
	}
	return out
}

// Parts of rules.

// named compares the name of an interface.
func named(key expr.MetaKey, op expr.CmpOp, device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

// ofFamily matches packets of IPv4 or IPv6.
func ofFamily(v6 bool) []expr.Any {
	data := []byte{unix.NFPROTO_IPV4}
	if v6 {
		data[0] = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

// end is one of the two addresses of a packet: where it stands in the header
// of IPv4, and in that of IPv6.
type end [2]uint32

var source, destination = end{12, 8}, end{16, 24}

func familyIndex(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

func payload(base expr.PayloadBase, offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}}
}

// network matches packets of its family with an address in it.
func network(e end, p netip.Prefix) []expr.Any {
	a, length := p.Masked().Addr(), uint32(p.Addr().BitLen()/8)
	out := ofFamily(a.Is6())
	if p.Bits() == 0 {
		return out
	}
	out = append(out, payload(expr.PayloadBaseNetworkHeader, e[familyIndex(a)], length)...)
	return append(out,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: net.CIDRMask(p.Bits(), a.BitLen()), Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
}

// local matches packets one of whose addresses is this host's.
func local(destination bool) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: destination, FlagSADDR: !destination},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func transport(protocol byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}}}
}

// ports matches destination ports. The protocol is known already.
func ports(first, last uint16) []expr.Any {
	return append(payload(expr.PayloadBaseTransportHeader, 2, 2),
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binary.BigEndian.AppendUint16(nil, first)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: binary.BigEndian.AppendUint16(nil, last)})
}

// redirect matches ICMP redirects (RFC 792). The protocol is known already.
func redirect() []expr.Any {
	const typeRedirect = 5
	return append(payload(expr.PayloadBaseTransportHeader, 0, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{typeRedirect}})
}

// ipsDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ipsDstNAT = 1 << 5

// forwarded matches packets of connections whose destination was translated.
func forwarded() []expr.Any {
	return tracked(expr.CtKeySTATUS, ipsDstNAT)
}

// isNew matches the first packet of a connection, and those behind it that are
// not answered.
func isNew() []expr.Any { return tracked(expr.CtKeySTATE, expr.CtStateBitNEW) }

func tracked(key expr.CtKey, bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bit), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}
