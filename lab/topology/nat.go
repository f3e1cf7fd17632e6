package topology

import (
	"fmt"

	"braid/lab"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// masquerade makes a host put its own address in place of the source of every
// IPv4 packet that it forwards out of an interface:
//
//	table ip nat { chain postrouting { type nat hook postrouting priority srcnat
//		oifname NAME masquerade } }
func masquerade(h *lab.Host, interfaceName string) error {
	c, err := nftables.New(nftables.WithNetNSFd(h.NetNSFd()))
	if err != nil {
		return fmt.Errorf("open nftables in %s: %w", h.Name(), err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
	chain := c.AddChain(&nftables.Chain{
		Name:     "postrouting",
		Table:    table,
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
	})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, interfaceName)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade out of %s in %s: %w (do the kernel modules nft_masq and nft_chain_nat exist?)",
			interfaceName, h.Name(), err)
	}
	return nil
}
