// Package tun is the TUN device, with the virtio-net header kept.
//
// The kernel hands over and takes super-packets: up to 64 KiB of one TCP or
// UDP flow behind one header, segmentation and checksum still to be done.
// They cross braid whole. wireguard-go's tun package, which most Go VPNs use,
// splits and coalesces in user space and writes to the device every second to
// learn whether it is up; the three ioctls below are all that is needed
// instead (Documentation/networking/tuntap.rst, linux/if_tun.h).
package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"braid/tunnel/wire"
)

const clonePath = "/dev/net/tun"

// Offloads asked of the kernel (linux/if_tun.h): packets with partial
// checksums and TCP super-packets always, UDP super-packets from 6.2 on.
const (
	offloadTCP = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	offloadUDP = unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// Device is an open TUN device. It exists as long as the process keeps it
// open. One goroutine may read while any number write.
type Device struct {
	name string
	file *os.File
	conn syscall.RawConn
	udp  bool

	read readState // of the one reader
}

// Error says what could not be done to a device and how to mend it.
type Error struct {
	Op, Name string
	Err      error
	hint     string
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Name, e.Err) }

// Unwrap returns the system's error.
func (e *Error) Unwrap() error { return e.Err }

// Hint says how to mend it, in a sentence; it may be empty.
func (e *Error) Hint() string { return e.hint }

func hint(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "the kernel has no TUN device: load it with 'modprobe tun', or give the container " + clonePath
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "run as root or with CAP_NET_ADMIN"
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return "another program has a device of that name: stop it, or set another tunnel.name"
	case errors.Is(err, unix.EINVAL):
		return "tunnel.name must be an unused interface name of at most 15 characters"
	}
	return ""
}

// Create makes the TUN device called name, which must not exist yet. It is
// down and has no addresses: that is the business of package hostnet. Errors
// are of type *Error.
func Create(name string) (*Device, error) {
	fail := func(op string, err error) (*Device, error) {
		return nil, &Error{op, name, err, hint(err)}
	}
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail("open "+clonePath+" for", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		// IFF_TUN_EXCL: never take over a device that is already there.
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		return fail("create tunnel device", err)
	}
	udp := true
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadTCP|offloadUDP) != nil {
		udp = false
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadTCP); err != nil {
			unix.Close(fd)
			return fail("set offloads of", err)
		}
	}
	file := os.NewFile(uintptr(fd), clonePath)
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fail("open", err)
	}
	d := &Device{name: ifr.Name(), file: file, conn: conn, udp: udp}
	d.read.ready = d.fill
	return d, nil
}

// Name returns the interface's name.
func (d *Device) Name() string { return d.name }

// Close removes the device and ends a blocked ReadBatch.
func (d *Device) Close() error { return d.file.Close() }

// readState is what fill works on. It lives in the Device, so that the
// closure that the poller calls is made once and not per batch.
type readState struct {
	ready    func(fd uintptr) bool
	buf      []byte
	headroom int
	sizes    []int
	n        int
	err      error
}

// ReadBatch waits for packets and reads as many as are there into buf, one
// behind the other: headroom bytes that it leaves alone, then size bytes of
// virtio-net header (little-endian, as in the wire format) and IP packet. It
// returns the number of packets; sizes[i] does not count the headroom. It
// stops when sizes is full or the rest of buf could not hold the largest
// packet, so buf must be larger than that. It does not allocate. The error is
// os.ErrClosed after Close.
func (d *Device) ReadBatch(buf []byte, headroom int, sizes []int) (int, error) {
	r := &d.read
	r.buf, r.headroom, r.sizes, r.n, r.err = buf, headroom, sizes, 0, nil
	err := d.conn.Read(r.ready)
	r.buf, r.sizes = nil, nil
	if r.n > 0 {
		return r.n, nil
	}
	if err != nil {
		return 0, os.ErrClosed // the poller has no other reason, and no exported error
	}
	return 0, r.err
}

// fill reads until nothing is left; false asks the poller to wait.
func (d *Device) fill(fd uintptr) bool {
	r := &d.read
	off := 0
	for r.n < len(r.sizes) {
		start := off + r.headroom
		if len(r.buf)-start < wire.MaxPayloadLen {
			break
		}
		n, err := unix.Read(int(fd), r.buf[start:])
		if err != nil {
			switch {
			case err == unix.EAGAIN:
				return r.n > 0
			case err == unix.EINTR:
				continue
			}
			r.err = err
			return true
		}
		if n < wire.VnetLen {
			continue
		}
		toWire(r.buf[start:])
		r.sizes[r.n] = n
		r.n++
		off = start + n
	}
	return true
}

// Write gives the kernel one virtio-net header (little-endian) and IP packet,
// which the caller has checked. The header's bytes may be changed. A packet
// that the kernel refuses is the error; it is then lost, as on any link. It
// does not allocate.
func (d *Device) Write(p []byte) error {
	toHost(p)
	_, err := d.file.Write(p)
	return err
}

// The device's header is in the host's byte order, the wire's is not. On
// little-endian hosts both are the same and these do nothing.

func toWire(h []byte) { swapOnBigEndian(h) }
func toHost(h []byte) { swapOnBigEndian(h) }

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

func swapOnBigEndian(h []byte) {
	if !bigEndian {
		return
	}
	for i := 2; i < wire.VnetLen; i += 2 {
		h[i], h[i+1] = h[i+1], h[i]
	}
}
