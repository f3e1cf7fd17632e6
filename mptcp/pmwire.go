package mptcp

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Names and numbers of linux/mptcp_pm.h (before 6.7 part of linux/mptcp.h).
const (
	familyName = "mptcp_pm"
	groupName  = "mptcp_pm_events"
)

// Commands, enum MPTCP_PM_CMD_*.
const (
	cmdGetAddr        = 3
	cmdSetLimits      = 5
	cmdGetLimits      = 6
	cmdSetFlags       = 7
	cmdRemove         = 9
	cmdSubflowCreate  = 10
	cmdSubflowDestroy = 11
)

// Attributes of commands, enum MPTCP_PM_ATTR_*.
const (
	attrAddr            = 1 // nested address
	attrReceiveAddAddrs = 2 // u32
	attrSubflows        = 3 // u32
	attrToken           = 4 // u32
	attrLocalID         = 5 // u8
	attrAddrRemote      = 6 // nested address
)

// Attributes inside an address, enum MPTCP_PM_ADDR_ATTR_*.
const (
	addrAttrFamily  = 1 // u16
	addrAttrID      = 2 // u8
	addrAttr4       = 3 // 4 bytes, network order
	addrAttr6       = 4 // 16 bytes
	addrAttrPort    = 5 // u16, host order
	addrAttrFlags   = 6 // u32
	addrAttrIfIndex = 7 // s32
)

// Flags of an address, MPTCP_PM_ADDR_FLAG_*.
const (
	addrFlagSignal   = 1 << 0
	addrFlagSubflow  = 1 << 1
	addrFlagBackup   = 1 << 2
	addrFlagFullmesh = 1 << 3
	addrFlagImplicit = 1 << 4
)

// addr is an address attribute of a command.
type addr struct {
	netip.AddrPort
	mapped   bool // as v4-mapped IPv6, as some subflows are known to the kernel
	id       uint8
	hasID    bool
	flags    uint32
	hasFlags bool // also when they are 0
	ifIndex  int
}

func (a addr) encode(ae *netlink.AttributeEncoder, typ uint16) {
	ae.Nested(typ, func(ae *netlink.AttributeEncoder) error {
		ip := a.Addr().Unmap()
		if !ip.IsValid() {
			return unix.EAFNOSUPPORT
		}
		if ip.Is4() && !a.mapped {
			ae.Uint16(addrAttrFamily, unix.AF_INET)
			b := ip.As4()
			ae.Bytes(addrAttr4, b[:])
		} else {
			ae.Uint16(addrAttrFamily, unix.AF_INET6)
			b := ip.As16()
			ae.Bytes(addrAttr6, b[:])
		}
		if a.Port() != 0 {
			ae.Uint16(addrAttrPort, a.Port())
		}
		if a.hasID {
			ae.Uint8(addrAttrID, a.id)
		}
		if a.flags != 0 || a.hasFlags {
			ae.Uint32(addrAttrFlags, a.flags)
		}
		if a.ifIndex != 0 {
			ae.Int32(addrAttrIfIndex, int32(a.ifIndex))
		}
		return nil
	})
}

// eachAttr walks netlink attributes; a length that does not fit ends it with an
// error, and so does fn. What typ and value mean is fn's business.
func eachAttr(data []byte, fn func(typ uint16, value fields) error) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	for ad.Next() {
		if err := fn(ad.Type(), fields(ad.Bytes())); err != nil {
			return err
		}
	}
	return ad.Err()
}

func decodeLimits(data []byte) (l Limits, err error) {
	err = eachAttr(data, func(typ uint16, v fields) error {
		switch typ {
		case attrReceiveAddAddrs:
			l.AcceptedAddresses = v.u32(0)
		case attrSubflows:
			l.ExtraSubflows = v.u32(0)
		}
		return nil
	})
	return l, err
}

// decodeEndpoint decodes one answer of GET_ADDR; ok is false when it holds no
// address.
func decodeEndpoint(data []byte) (ep Endpoint, ok bool, err error) {
	err = eachAttr(data, func(typ uint16, v fields) error {
		if typ != attrAddr {
			return nil
		}
		return eachAttr(v, func(typ uint16, v fields) error {
			switch typ {
			case addrAttrID:
				ep.ID = v.u8(0)
			case addrAttr4, addrAttr6:
				if a, valid := netip.AddrFromSlice(v); valid {
					ep.Addr, ok = a.Unmap(), true
				}
			case addrAttrPort:
				ep.Port = v.u16(0)
			case addrAttrFlags:
				f := v.u32(0)
				ep.Signal = f&addrFlagSignal != 0
				ep.Subflow = f&addrFlagSubflow != 0
				ep.Backup = f&addrFlagBackup != 0
				ep.Fullmesh = f&addrFlagFullmesh != 0
				ep.Implicit = f&addrFlagImplicit != 0
			case addrAttrIfIndex:
				ep.IfIndex = int(int32(v.u32(0)))
			}
			return nil
		})
	})
	return ep, ok && err == nil, err
}

// bigEndian16 reads a port in network order.
func (f fields) bigEndian16() uint16 {
	if len(f) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(f)
}
