package hostnet

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// readNAT and doNAT work in the calling thread's network namespace. Each rule
// of ours has a comment that says what it does: that is how the table is read
// back. A flushed chain, a deleted rule or a deleted table is noticed, a rule
// that someone has edited is not.
func readNAT(table string) (lines []string, ok bool, err error) {
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
	for _, def := range natChains {
		i := slices.IndexFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == table && c.Name == def.Name })
		if i < 0 {
			continue
		}
		rules, err := c.GetRules(t, chains[i])
		if err != nil {
			return nil, false, explainNAT(op, err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			lines = append(lines, natRule{chain: def.Name, comment: comment}.line())
		}
	}
	return lines, true, nil
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
	c, err := nftables.New(nftables.WithSockOptions(forManyRules))
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
	rules := n.rules()
	for _, def := range natChains {
		if !slices.ContainsFunc(rules, func(r natRule) bool { return r.chain == def.Name }) {
			continue
		}
		chain := def
		chain.Table = table
		c.AddChain(&chain)
	}
	for _, r := range rules {
		c.AddRule(&nftables.Rule{
			Table: table, Chain: &nftables.Chain{Name: r.chain, Table: table}, Exprs: r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
		})
	}
	return explainNAT(op, c.Flush())
}

// natChains are all chains that a table of ours may have: one that is jumped to
// before the one that does.
var natChains = []nftables.Chain{
	{Name: chainPrerouting, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest},
	{Name: chainOutput, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest},
	{Name: chainBetween},
	{Name: chainForward, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter},
	{Name: chainRedirects, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter},
	{Name: chainPostrouting, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource},
}

// forManyRules makes room for a transaction of some ten thousand rules, and
// for the kernel's answers, of which there is one for each.
func forManyRules(c *netlink.Conn) error {
	const bytes = 16 << 20
	_ = c.SetWriteBuffer(bytes)
	_ = c.SetReadBuffer(bytes)
	return nil
}
