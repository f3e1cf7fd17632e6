package hostnet

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// filterFamilies are the families whose chains see packets that are forwarded.
var filterFamilies = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
}

// Filters lists the chains of others that may drop what is forwarded, with
// those that they lead to. Those of iptables are among them where it works by
// way of nftables, as it does everywhere but on old systems.
func (k *Kernel) Filters(device string) (out []Filter, err error) {
	err = k.ns.do(func() error {
		out, err = readFilters(device)
		return err
	})
	return out, err
}

func readFilters(device string) ([]Filter, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	l, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	r := filterReader{conn: c, name: device, index: l.Index}
	var out []Filter
	for _, chain := range chains {
		base := chain.Type == nftables.ChainTypeFilter && chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookForward
		family := filterFamilies[chain.Table.Family]
		if !base || family == "" || strings.HasPrefix(chain.Table.Name, natTable("")) {
			continue
		}
		f := Filter{Family: family, Table: chain.Table.Name, Name: chain.Name, Base: true}
		f.Drop = chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		f.Rules = r.rules(chain)
		out = append(out, f)
		if f.drops() {
			out = r.follow(out, chain, chains)
		}
	}
	return out, nil
}

// filterReader reads rules as far as they are about a device.
type filterReader struct {
	conn  *nftables.Conn
	name  string
	index int
}

// follow adds the chains that those of a table which are in list lead to.
func (r filterReader) follow(list []Filter, in *nftables.Chain, all []*nftables.Chain) []Filter {
	family := filterFamilies[in.Table.Family]
	known := func(name string) bool {
		return slices.ContainsFunc(list, func(f Filter) bool { return f.Family == family && f.Table == in.Table.Name && f.Name == name })
	}
	for i := len(list) - 1; i < len(list); i++ {
		for _, rule := range list[i].Rules {
			if rule.Verdict != FilterJump || known(rule.Chain) {
				continue
			}
			at := slices.IndexFunc(all, func(c *nftables.Chain) bool {
				return c.Table.Family == in.Table.Family && c.Table.Name == in.Table.Name && c.Name == rule.Chain
			})
			if at < 0 {
				continue // gone since
			}
			list = append(list, Filter{Family: family, Table: in.Table.Name, Name: rule.Chain, Rules: r.rules(all[at])})
		}
	}
	return list
}

// rules reads a chain. One that cannot be read, because the library does not know
// all that a rule may have, is taken to know of the device: an alarm must be true.
func (r filterReader) rules(chain *nftables.Chain) (out []FilterRule) {
	unknown := []FilterRule{{In: FitThis, Out: FitThis, Verdict: FilterAccept}}
	rules, err := r.conn.GetRules(chain.Table, chain)
	if err != nil {
		return unknown
	}
	for _, rule := range rules {
		read, err := r.rule(chain.Table, rule.Exprs)
		if err != nil {
			return unknown
		}
		out = append(out, read)
	}
	return out
}

// rule reads one rule.
func (r filterReader) rule(table *nftables.Table, exprs []expr.Any) (f FilterRule, err error) {
	var loaded expr.Any // what the register has
	var mask []byte     // of that
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			// Which protocol a packet is of says the table, or a condition that follows.
			if loaded, mask = e, nil; e.Key == expr.MetaKeyNFPROTO {
				loaded = nil
			}
		case *expr.Payload, *expr.Ct:
			loaded, mask = e, nil
		case *expr.Bitwise:
			mask = e.Mask
		case *expr.Cmp:
			if loaded != nil {
				r.compare(&f, loaded, mask, e)
			}
		case *expr.Lookup:
			set, elements, err := r.set(table, e.SetName)
			if err != nil {
				return f, err
			}
			if side := r.side(&f, loaded); side != nil {
				*side = fit(slices.ContainsFunc(elements, func(x nftables.SetElement) bool { return r.holds(set, elements, x) }), e.Invert)
			} else {
				f.More = true
			}
			f.More = f.More || set.Concatenation
			if e.IsDestRegSet {
				// The library does not read what a map says. Whoever speaks of
				// the device there knows of it.
				f.Verdict = FilterAccept
			}
		case *expr.Verdict:
			f.Verdict, f.Chain = filterVerdict(e)
		case *expr.Reject:
			f.Verdict = FilterDrop
		case *expr.Target:
			if e.Name == "REJECT" || e.Name == "DROP" {
				f.Verdict = FilterDrop
			}
		case *expr.Match:
			f.match(e)
		case *expr.Counter, *expr.Log, *expr.Immediate:
		default:
			f.More = true
		}
	}
	return f, nil
}

// match reads a condition of iptables.
func (f *FilterRule) match(m *expr.Match) {
	switch info := m.Info.(type) {
	case *xt.Comment:
	case *xt.ConntrackMtinfo3:
		f.tracked(uint32(info.StateMask))
	case *xt.ConntrackMtinfo2:
		f.tracked(uint32(info.StateMask))
	default:
		f.More = true
	}
}

// tracked reads the states of iptables, whose bits are those of nftables, and
// two more for what was translated.
func (f *FilterRule) tracked(states uint32) {
	const dnat = 1 << 7 // XT_CONNTRACK_STATE_DNAT of linux/netfilter/xt_conntrack.h
	f.DNAT = states&dnat != 0
	if f.States = states &^ dnat; f.States == 0 {
		f.States = dnat // none of those that we know
	}
}

func filterVerdict(v *expr.Verdict) (FilterVerdict, string) {
	switch v.Kind {
	case expr.VerdictAccept:
		return FilterAccept, ""
	case expr.VerdictDrop:
		return FilterDrop, ""
	case expr.VerdictJump, expr.VerdictGoto:
		return FilterJump, v.Chain
	case expr.VerdictReturn:
		return FilterReturn, ""
	}
	return FilterContinue, ""
}

// fit tells whether the device is among those of a condition. One that excludes
// others does not speak of it.
func fit(among, inverted bool) Fit {
	switch {
	case among == inverted:
		return FitOther
	case inverted:
		return FitAny
	}
	return FitThis
}

// side is the condition that what is loaded is about; nil: none of the two.
func (r filterReader) side(f *FilterRule, loaded expr.Any) *Fit {
	if m, ok := loaded.(*expr.Meta); ok {
		switch m.Key {
		case expr.MetaKeyIIFNAME, expr.MetaKeyIIF:
			return &f.In
		case expr.MetaKeyOIFNAME, expr.MetaKeyOIF:
			return &f.Out
		}
	}
	return nil
}

// compare reads a condition on what is loaded.
func (r filterReader) compare(f *FilterRule, loaded expr.Any, mask []byte, c *expr.Cmp) {
	equal := c.Op == expr.CmpOpEq
	if side := r.side(f, loaded); side != nil && (equal || c.Op == expr.CmpOpNeq) {
		is := bytes.Equal(c.Data, binaryutil.NativeEndian.PutUint32(uint32(r.index)))
		if k := loaded.(*expr.Meta).Key; k == expr.MetaKeyIIFNAME || k == expr.MetaKeyOIFNAME {
			// Without the zeros at its end it is the beginning of a name: "wan*".
			is = bytes.HasPrefix(r.key(), c.Data)
		}
		*side = fit(is, !equal)
		return
	}
	switch l := loaded.(type) {
	case *expr.Ct:
		bits := uint32(0)
		if len(mask) == 4 && c.Op == expr.CmpOpNeq {
			bits = binary.NativeEndian.Uint32(mask)
		} else if len(c.Data) == 4 && equal {
			bits = binary.NativeEndian.Uint32(c.Data)
		}
		switch {
		case l.Key == expr.CtKeySTATE && bits != 0:
			f.States = bits
			return
		case l.Key == expr.CtKeySTATUS && bits == ipsDstNAT:
			f.DNAT = true
			return
		}
	case *expr.Payload:
		if p, from, ok := readNetwork(l, mask, c.Data); ok && equal && l.Base == expr.PayloadBaseNetworkHeader {
			if from {
				f.From = p
			} else {
				f.To = p
			}
			return
		}
	}
	f.More = true
}

// key is the device's name as rules compare it.
func (r filterReader) key() []byte {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, r.name)
	return name
}

// readNetwork reads the comparison of an address. nft loads no more bytes than
// the prefix has, if it is whole bytes.
func readNetwork(l *expr.Payload, mask, data []byte) (p netip.Prefix, from, ok bool) {
	for i, length := range []uint32{4, 16} {
		for _, e := range []end{source, destination} {
			if l.Offset != e[i] || l.Len > length || int(l.Len) != len(data) {
				continue
			}
			whole := make([]byte, length)
			copy(whole, data)
			bits := 8 * len(data)
			if mask != nil {
				bits, _ = net.IPMask(append(slices.Clone(mask), make([]byte, int(length)-len(mask))...)).Size()
			}
			a, _ := netip.AddrFromSlice(whole)
			return netip.PrefixFrom(a, bits), e == source, true
		}
	}
	return p, false, false
}

func (r filterReader) set(table *nftables.Table, name string) (*nftables.Set, []nftables.SetElement, error) {
	set, err := r.conn.GetSetByName(table, name)
	if err != nil {
		return nil, nil, err
	}
	elements, err := r.conn.GetSetElements(set)
	return set, elements, err
}

// holds reports whether an element of a set of interfaces is about the device.
// Those of an interval set are its bounds, in any order.
func (r filterReader) holds(set *nftables.Set, all []nftables.SetElement, x nftables.SetElement) bool {
	key := r.key()
	switch {
	case set.Concatenation:
		return bytes.HasPrefix(x.Key, key)
	case len(x.Key) == 4:
		return bytes.Equal(x.Key, binaryutil.NativeEndian.PutUint32(uint32(r.index)))
	case !set.Interval:
		return bytes.Equal(x.Key, key)
	}
	if x.IntervalEnd || bytes.Compare(x.Key, key) > 0 {
		return false
	}
	return !slices.ContainsFunc(all, func(o nftables.SetElement) bool {
		return bytes.Compare(o.Key, x.Key) > 0 && bytes.Compare(o.Key, key) <= 0
	})
}
