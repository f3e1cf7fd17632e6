package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Veth connects two hosts, which may be the same, with an unshaped cable: a veth
// pair with all the kernel's offloads, both ends up. It lives until one end's
// interface is deleted or the lab is closed.
func (l *Lab) Veth(a *Host, aInterface string, b *Host, bInterface string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aInterface
	err := a.Netlink(func(nl *netlink.Handle) error {
		return nl.LinkAdd(&netlink.Veth{
			LinkAttrs:     attrs,
			PeerName:      bInterface,
			PeerNamespace: netlink.NsFd(b.fd),
		})
	})
	if err != nil {
		return fmt.Errorf("create veth %s in %s to %s in %s: %w", aInterface, a.name, bInterface, b.name, err)
	}
	if err := a.SetUp(aInterface); err != nil {
		return err
	}
	return b.SetUp(bInterface)
}

// DeleteInterface deletes an interface of a host; of a veth, both ends go.
// Emulated links have Link.Remove.
func (h *Host) DeleteInterface(name string) error {
	return h.change("delete", name, (*netlink.Handle).LinkDel)
}
