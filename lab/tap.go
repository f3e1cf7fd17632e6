package lab

import (
	"fmt"
	"hash/fnv"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunDevice = "/dev/net/tun"

// tapQueueFrames is the length of the kernel's queue toward us. It absorbs what
// a sender bursts while the pump is busy, so that frames are dropped by the
// emulator, which counts them, and never there: 4096 frames are 50 ms at 1 Gb/s.
const tapQueueFrames = 4096

// openTAP creates a TAP device in a host and returns its descriptor, in
// non-blocking mode; the device lives as long as the descriptor. There is no
// virtio header, so the kernel segments and completes checksums before a frame
// gets to us.
func openTAP(h *Host, name string, mtu int, mac net.HardwareAddr) (fd int, err error) {
	fd = -1
	defer func() {
		if err != nil {
			err = fmt.Errorf("create tap %s in %s: %w", name, h.name, err)
			if fd >= 0 {
				unix.Close(fd)
				fd = -1
			}
		}
	}()
	err = h.Do(func() error {
		var err error
		if fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("open %s: %w", tunDevice, err)
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		return fd, err
	}
	if err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return fd, fmt.Errorf("turn offloads off: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func(*netlink.Handle, netlink.Link) error
	}{
		{"set address", func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetHardwareAddr(l, mac) }},
		{"set queue length", func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetTxQLen(l, tapQueueFrames) }},
		{"set mtu", func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetMTU(l, mtu) }},
		{"bring up", (*netlink.Handle).LinkSetUp},
	} {
		if err = h.change(step.what, name, step.do); err != nil {
			return fd, err
		}
	}
	return fd, nil
}

// setTAPCarrier plugs the cable in or out, as the host sees it.
func setTAPCarrier(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETCARRIER, value); err != nil {
		return fmt.Errorf("set carrier: %w", err)
	}
	return nil
}

// tapMAC derives a locally administered address from the interface's place, so
// that a link that is removed and created anew has the address it had.
func tapMAC(host, name string) net.HardwareAddr {
	f := fnv.New64a()
	f.Write([]byte(host + "\x00" + name))
	sum := f.Sum(nil)
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}
