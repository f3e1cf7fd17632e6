package hostnet

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// killSwitchPriority is behind everything that may still change a packet's
// destination, mark or route: destination NAT is at -100, marking at -150.
const killSwitchPriority = 250

// killSwitchBufferBytes is room for a transaction and for its acknowledgements,
// one for each rule: a rule takes some 600 bytes, and the kernel's default of
// 212,992 would end it at three hundred.
const killSwitchBufferBytes = 16 << 20

// killSwitchConn opens nftables in the calling thread's network namespace, as
// all functions of this file do.
func killSwitchConn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(
		func(c *netlink.Conn) error { return c.SetWriteBuffer(killSwitchBufferBytes) },
		func(c *netlink.Conn) error { return c.SetReadBuffer(killSwitchBufferBytes) },
	))
}

func killSwitchError(op string, err error) error {
	err = explainNAT(op, err)
	if e, ok := err.(*Error); ok && strings.Contains(e.Mend, "modprobe") {
		e.Mend = "load nftables with \"modprobe nf_tables\", or switch the kill switch off (kill_switch = false)"
	}
	return err
}

// readKillSwitch lists the rules of a table as KillSwitchTable.texts does, by
// their comments; false if the table or one of its chains is not there. A rule
// that someone has edited is not noticed.
func readKillSwitch(table string) (texts []string, ok bool, err error) {
	const op = "read nftables"
	c, err := killSwitchConn()
	if err != nil {
		return nil, false, killSwitchError(op, err)
	}
	t, err := findTable(c, table)
	if err != nil || t == nil {
		return nil, false, killSwitchError(op, err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, false, killSwitchError(op, err)
	}
	there := make(map[string]bool)
	for _, chain := range chains {
		if chain.Table.Name == table {
			hooked := chain.Hooknum != nil && chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
			there[chain.Name] = hooked || chain.Name == chainRoutes
		}
	}
	for _, name := range []string{killSwitchOutput, killSwitchForward, chainRoutes} {
		if !there[name] {
			return texts, false, nil
		}
		rules, err := c.GetRules(t, &nftables.Chain{Name: name, Table: t})
		if err != nil {
			return nil, false, killSwitchError(op, err)
		}
		for _, r := range rules {
			if comment, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
				texts = append(texts, name+": "+comment)
			}
		}
	}
	return texts, true, nil
}

// listKillSwitches lists the tables that have our name.
func listKillSwitches() ([]string, error) {
	c, err := killSwitchConn()
	if err != nil {
		return nil, killSwitchError("read nftables", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil // no nftables in this kernel, and so no table
	}
	if err != nil {
		return nil, killSwitchError("read nftables", err)
	}
	var out []string
	for _, t := range tables {
		if strings.HasPrefix(t.Name, killSwitchPrefix) {
			out = append(out, t.Name)
		}
	}
	return out, nil
}

func doKillSwitch(k KillSwitchTable, remove bool) error {
	const op = "change nftables"
	c, err := killSwitchConn()
	if err != nil {
		return killSwitchError(op, err)
	}
	table := &nftables.Table{Name: k.Table, Family: nftables.TableFamilyINet}
	if remove {
		if t, err := findTable(c, k.Table); err != nil || t == nil {
			return killSwitchError(op, err)
		}
		c.DelTable(table)
		return killSwitchError(op, c.Flush())
	}
	// The rules change and the chains stay: no packet sees anything between.
	c.AddTable(table)
	fillKillSwitch(c, table, k)
	if c.Flush() == nil {
		return nil
	}
	// Somebody's chains have our names: all anew, also in one transaction. What
	// leaves in the moment between is dropped.
	if c, err = killSwitchConn(); err != nil {
		return killSwitchError(op, err)
	}
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	fillKillSwitch(c, table, k)
	return killSwitchError(op, c.Flush())
}

// fillKillSwitch gives the table's chains its rules in place of what they have.
func fillKillSwitch(c *nftables.Conn, table *nftables.Table, k KillSwitchTable) {
	drop := nftables.ChainPolicyDrop
	chain := func(name string, hook *nftables.ChainHook, rules []KillSwitchRule) {
		ch := &nftables.Chain{Name: name, Table: table}
		if hook != nil {
			ch.Type, ch.Hooknum, ch.Policy = nftables.ChainTypeFilter, hook, &drop
			ch.Priority = nftables.ChainPriorityRef(killSwitchPriority)
		}
		c.AddChain(ch)
		c.FlushChain(ch)
		for _, r := range rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: r.expressions(),
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.String())})
		}
		if hook != nil {
			c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chainRoutes}}})
		}
	}
	chain(chainRoutes, nil, k.Routes)
	chain(killSwitchOutput, nftables.ChainHookOutput, k.Output)
	chain(killSwitchForward, nftables.ChainHookForward, k.Forward)
}

// expressions are the rule as the kernel takes it.
func (r KillSwitchRule) expressions() []expr.Any {
	var out []expr.Any
	meta := func(key expr.MetaKey, value []byte) {
		out = append(out, &expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value})
	}
	field := func(base expr.PayloadBase, offset, length uint32) {
		out = append(out, &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length})
	}
	equal := func(value []byte) { out = append(out, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}) }

	for _, i := range []struct {
		key  expr.MetaKey
		name string
	}{{expr.MetaKeyIIFNAME, r.In}, {expr.MetaKeyOIFNAME, r.Out}} {
		if i.name != "" {
			name := make([]byte, unix.IFNAMSIZ)
			copy(name, i.name)
			meta(i.key, name)
		}
	}
	if r.Mark != 0 {
		meta(expr.MetaKeyMARK, binary.NativeEndian.AppendUint32(nil, r.Mark))
	}
	family := r.Family
	// struct iphdr and ipv6hdr: where the destination is.
	offset, length := uint32(16), uint32(net.IPv4len)
	switch {
	case r.Neighbours, r.To.IsValid() && r.To.Addr().Is6():
		family, offset, length = unix.NFPROTO_IPV6, 24, net.IPv6len
	case r.To.IsValid():
		family = unix.NFPROTO_IPV4
	}
	if family != 0 {
		meta(expr.MetaKeyNFPROTO, []byte{byte(family)})
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		field(expr.PayloadBaseNetworkHeader, offset, length)
		if !r.To.IsSingleIP() {
			out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length,
				Mask: net.CIDRMask(r.To.Bits(), r.To.Addr().BitLen()), Xor: make([]byte, length)})
		}
		equal(r.To.Masked().Addr().AsSlice())
	}
	if r.Protocol != 0 {
		meta(expr.MetaKeyL4PROTO, []byte{byte(r.Protocol)})
	}
	for offset, port := range []uint16{r.FromPort, r.ToPort} { // TCP and UDP begin with both
		if port != 0 {
			field(expr.PayloadBaseTransportHeader, uint32(2*offset), 2)
			equal(binary.BigEndian.AppendUint16(nil, port))
		}
	}
	if r.Reset {
		const flags, rst = 13, 1 << 2 // struct tcphdr
		field(expr.PayloadBaseTransportHeader, flags, 1)
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{rst}, Xor: []byte{0}})
		equal([]byte{rst})
	}
	if r.Neighbours {
		const hopLimit = 7 // struct ipv6hdr
		meta(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_ICMPV6})
		field(expr.PayloadBaseTransportHeader, 0, 1)
		out = append(out, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{firstNeighbourType}, ToData: []byte{lastNeighbourType}})
		field(expr.PayloadBaseNetworkHeader, hopLimit, 1)
		equal([]byte{neighbourHops})
	}
	if r.Drop {
		return append(out, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	return append(out, &expr.Verdict{Kind: expr.VerdictAccept})
}
