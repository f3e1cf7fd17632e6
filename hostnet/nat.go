package hostnet

import (
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// natChain is the one chain of our nftables tables.
const natChain = "postrouting"

// readNAT and doNAT work in the calling thread's network namespace. The table
// holds one rule per range, whose comment is the range: that is how it is
// read back. A flushed chain or a deleted table is noticed, a rule that
// someone has edited is not.
func readNAT(table string) (ranges []netip.Prefix, ok bool, err error) {
	const op = "read nftables"
	c, err := nftables.New()
	if err != nil {
		return nil, false, explainNAT(op, err)
	}
	t, err := findTable(c, table)
	if err != nil || t == nil {
		return nil, false, explainNAT(op, err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, false, explainNAT(op, err)
	}
	for _, chain := range chains {
		if chain.Table.Name != table || chain.Name != natChain {
			continue
		}
		rules, err := c.GetRules(t, chain)
		if err != nil {
			return nil, false, explainNAT(op, err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if p, err := netip.ParsePrefix(comment); err == nil {
				ranges = append(ranges, p)
			}
		}
	}
	return ranges, true, nil
}

func findTable(c *nftables.Conn, name string) (*nftables.Table, error) {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, nil
}

func doNAT(n NAT, remove bool) error {
	const op = "change nftables"
	c, err := nftables.New()
	if err != nil {
		return explainNAT(op, err)
	}
	table := &nftables.Table{Name: n.Table, Family: nftables.TableFamilyINet}
	if remove {
		if t, err := findTable(c, n.Table); err != nil || t == nil {
			return explainNAT(op, err)
		}
		c.DelTable(table)
		return explainNAT(op, c.Flush())
	}
	// One transaction: there is no moment without the table.
	c.AddTable(table) // or deleting fails
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: natChain, Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, p := range n.Ranges {
		c.AddRule(&nftables.Rule{
			Table: table, Chain: chain, Exprs: masquerade(n.Device, p),
			UserData: userdata.AppendString(nil, userdata.TypeComment, p.String()),
		})
	}
	return explainNAT(op, c.Flush())
}

// masquerade is the rule
//
//	iifname DEVICE oifname != DEVICE ip[6] saddr PREFIX masquerade
func masquerade(device string, p netip.Prefix) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if p.Addr().Is6() {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
	if p.Bits() > 0 {
		out = append(out,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length,
				Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()), Xor: make([]byte, length)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()})
	}
	return append(out, &expr.Masq{})
}
