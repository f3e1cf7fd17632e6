package probe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"braid/lab"

	"golang.org/x/sys/unix"
)

// SendSYN sends a TCP SYN out of a TUN device of a host, past the host's own
// routing, firewall and sanity: as a program of an honest host cannot do.
func SendSYN(h *lab.Host, device string, from, to netip.AddrPort) error {
	err := h.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		protocol := uint16(unix.ETH_P_IP)
		if to.Addr().Is6() {
			protocol = unix.ETH_P_IPV6
		}
		// sll_protocol is in network byte order (packet(7)).
		network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
		return unix.Sendto(fd, syn(from, to), 0, &unix.SockaddrLinklayer{Protocol: network, Ifindex: i.Index})
	})
	if err != nil {
		return fmt.Errorf("send a SYN to %v out of %s in %s: %w", to, device, h.Name(), err)
	}
	return nil
}

// syn is an IP packet with a SYN (RFC 9293, 3.1).
func syn(from, to netip.AddrPort) []byte {
	addresses := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	tcp := make([]byte, 24)
	binary.BigEndian.PutUint16(tcp, from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], 1)               // sequence number
	tcp[12], tcp[13] = byte(len(tcp))/4<<4, 2            // header in words; SYN
	binary.BigEndian.PutUint16(tcp[14:], 65535)          // window
	copy(tcp[20:], []byte{2, 4, 1460 >> 8, 1460 & 0xff}) // maximum segment size
	pseudo := append([]byte{0, unix.IPPROTO_TCP, 0, byte(len(tcp))}, addresses...)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))

	const hops = 64
	if to.Addr().Is6() {
		ip := []byte{0x60, 0, 0, 0, 0, byte(len(tcp)), unix.IPPROTO_TCP, hops}
		return append(append(ip, addresses...), tcp...)
	}
	ip := []byte{0x45, 0, 0, byte(20 + len(tcp)), 0, 0, 0, 0, hops, unix.IPPROTO_TCP, 0, 0}
	ip = append(ip, addresses...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, tcp...)
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
