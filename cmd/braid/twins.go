package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"braid/hostnet"
)

// Two routers of one maker often give one address: 192.168.8.100 twice, on two
// interfaces. Then the address does not say by which of them a connection leaves,
// and its sockets are bound to the interface instead.

// hasTwin reports whether another uplink has one of u's addresses.
func hasTwin(u hostnet.Uplink, all []hostnet.Uplink) bool {
	return slices.ContainsFunc(u.Addresses, func(a netip.Addr) bool { return ownerOf(a, u.Index, all) != "" })
}

// ownerOf names the first uplink, other than the one with this index, that has an
// address; "": none has.
func ownerOf(a netip.Addr, index int, all []hostnet.Uplink) string {
	for _, u := range all {
		if u.Index != index && slices.Contains(u.Addresses, a) {
			return u.Name
		}
	}
	return ""
}

// tellApart leaves of each address one owner where the kernel cannot tell the
// others apart: the first, which the host prefers. It returns for people why the
// uplinks that have no address left cannot be used, by their names.
func tellApart(found []hostnet.Uplink, kernel string) (usable []hostnet.Uplink, unusable map[string]string) {
	if heedsInterface(kernel) {
		return found, nil
	}
	for _, u := range found {
		was := u.Addresses
		u.Addresses = slices.DeleteFunc(slices.Clone(was), func(a netip.Addr) bool { return ownerOf(a, u.Index, usable) != "" })
		if len(was) > 0 && len(u.Addresses) == 0 {
			if unusable == nil {
				unusable = map[string]string{}
			}
			unusable[u.Name] = fmt.Sprintf("it has the address of %s, %v, and Linux %s cannot tell the two apart: "+
				"give one of their routers another network, or use Linux 6.6 or newer", ownerOf(was[0], u.Index, usable), was[0], kernel)
		}
		usable = append(usable, u)
	}
	return usable, unusable
}

// heedsInterface reports whether a kernel binds a joining subflow to the interface
// that it is told. Linux 6.1 does not.
func heedsInterface(release string) bool {
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, "-")
	a, err := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err != nil || err2 != nil || a > 6 || a == 6 && b >= 6
}

// kernelRelease is what uname -r says, "" when the kernel does not answer.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
