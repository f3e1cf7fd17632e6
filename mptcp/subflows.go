package mptcp

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Subflow is one TCP connection below an MPTCP connection.
type Subflow struct {
	// ID is the kernel's own number of the subflow within its connection,
	// never reused (not the address id of RFC 8684). It is 0 on kernels
	// without MPTCP_FULL_INFO (before 6.5).
	ID uint32
	// Local and Remote are unmapped: plain IPv4 for v4-mapped.
	Local, Remote netip.AddrPort
	// Mapped: the kernel holds them as v4-mapped IPv6. So is the initial
	// subflow to an IPv4 peer on the dual-stack sockets of this package.
	Mapped bool
	TCP    TCPInfo
}

// The socket options at level SOL_MPTCP, of linux/mptcp.h.
const (
	optInfo         = 1 // MPTCP_INFO
	optTCPInfo      = 2 // MPTCP_TCPINFO
	optSubflowAddrs = 3 // MPTCP_SUBFLOW_ADDRS
	optFullInfo     = 4 // MPTCP_FULL_INFO
)

// Sizes of the structures of linux/mptcp.h.
const (
	fullInfoHead     = 40 // struct mptcp_full_info before its mptcp_info
	subflowDataHead  = 16 // struct mptcp_subflow_data
	sockaddrStorage  = 128
	subflowAddrsSize = 2 * sockaddrStorage
	subflowInfoSize  = 8 + subflowAddrsSize // u32 id, padding, addresses
	subflowInfoSize4 = 4 + subflowAddrsSize // the same on 32-bit kernels: no padding
)

// maxSubflows is what is read of one connection. Kernels allow 8 extra subflows
// and the initial one; closed ones can still be listed.
const maxSubflows = 32

// Subflows lists the connection's subflows in the kernel's order, those that
// are joining or closing included (TCP.State tells). It is ErrFallback on a
// plain connection.
func (c *Conn) Subflows() ([]Subflow, error) { return c.AppendSubflows(nil) }

// AppendSubflows appends the subflows to dst, and allocates only when dst has
// too little room.
func (c *Conn) AppendSubflows(dst []Subflow) ([]Subflow, error) {
	if !c.multipath {
		return dst, &Error{Op: "subflows", Err: ErrFallback}
	}
	q := subflowQueries.Get().(*subflowQuery)
	defer subflowQueries.Put(q)
	out, err := q.full(c, dst)
	if notOffered(err) {
		// Either the kernel lacks MPTCP_FULL_INFO or the connection fell back.
		if !c.MPTCP() {
			return dst, &Error{Op: "subflows", Err: ErrFallback}
		}
		out, err = q.separate(c, dst)
	}
	if err != nil {
		return dst, &Error{Op: "subflows", Err: err}
	}
	return out, nil
}

// subflowQuery holds the buffers of one look at a connection's subflows.
type subflowQuery struct {
	head  [fullInfoHead + infoRoom]byte
	infos [maxSubflows * subflowInfoSize]byte
	tcps  [subflowDataHead + maxSubflows*tcpInfoRoom]byte
	addrs [subflowDataHead + maxSubflows*subflowAddrsSize]byte
	pin   runtime.Pinner
}

var subflowQueries = sync.Pool{New: func() any { return new(subflowQuery) }}

// full uses MPTCP_FULL_INFO, one consistent look.
//
//	struct mptcp_full_info
//	 0 size_tcpinfo_kernel  4 size_tcpinfo_user  8 size_sfinfo_kernel
//	12 size_sfinfo_user    16 num_subflows      20 size_arrays_user
//	24 subflow_info (pointer, 64 bits)          32 tcp_info (pointer)
//	40 struct mptcp_info
func (q *subflowQuery) full(c *Conn, dst []Subflow) ([]Subflow, error) {
	// The kernel writes through pointers inside the structure.
	q.pin.Pin(q)
	defer q.pin.Unpin()
	h := q.head[:]
	clear(h)
	le := binary.NativeEndian
	le.PutUint32(h[4:], tcpInfoRoom)
	le.PutUint32(h[12:], subflowInfoSize)
	le.PutUint32(h[20:], maxSubflows)
	le.PutUint64(h[24:], uint64(uintptr(unsafe.Pointer(&q.infos[0]))))
	le.PutUint64(h[32:], uint64(uintptr(unsafe.Pointer(&q.tcps[0]))))

	opt := getOptQuery()
	defer optQueries.Put(opt)
	n, err := opt.get(c.raw, unix.SOL_MPTCP, optFullInfo, h)
	if err != nil {
		return dst, err
	}
	return decodeFullInfo(dst, h[:n], q.infos[:], q.tcps[:])
}

// decodeFullInfo decodes what the kernel wrote for MPTCP_FULL_INFO. It believes
// no size that points outside the buffers.
func decodeFullInfo(dst []Subflow, head, infos, tcps []byte) ([]Subflow, error) {
	if len(head) < fullInfoHead {
		return dst, unix.EINVAL
	}
	h := fields(head)
	tcpSize, infoSize := int(h.u32(4)), int(h.u32(12)) // the kernel wrote elements of these sizes
	count := int(min(h.u32(16), h.u32(20), maxSubflows))
	if tcpSize <= 0 || infoSize < subflowInfoSize4 || tcpSize > tcpInfoRoom || infoSize > len(infos) {
		return dst, unix.EINVAL
	}
	addrs := subflowInfoSize - subflowAddrsSize
	if infoSize == subflowInfoSize4 {
		addrs = subflowInfoSize4 - subflowAddrsSize
	}
	for i := range count {
		if (i+1)*infoSize > len(infos) || (i+1)*tcpSize > len(tcps) {
			break
		}
		info := infos[i*infoSize:][:infoSize]
		s := Subflow{ID: fields(info).u32(0), TCP: DecodeTCPInfo(tcps[i*tcpSize:][:tcpSize])}
		s.setAddrs(info[addrs:])
		dst = append(dst, s)
	}
	return dst, nil
}

// separate uses the two options that kernels before MPTCP_FULL_INFO have. A
// subflow may come or go between them; then both are asked again.
func (q *subflowQuery) separate(c *Conn, dst []Subflow) ([]Subflow, error) {
	for range 4 {
		tcpCount, tcpSize, err := q.subflowData(c, optTCPInfo, q.tcps[:], tcpInfoRoom)
		if err != nil {
			return dst, err
		}
		addrCount, addrSize, err := q.subflowData(c, optSubflowAddrs, q.addrs[:], subflowAddrsSize)
		if err != nil {
			return dst, err
		}
		if tcpCount != addrCount {
			continue
		}
		for i := range tcpCount {
			s := Subflow{TCP: DecodeTCPInfo(q.tcps[subflowDataHead+i*tcpSize:][:tcpSize])}
			s.setAddrs(q.addrs[subflowDataHead+i*addrSize:][:addrSize])
			dst = append(dst, s)
		}
		return dst, nil
	}
	return dst, unix.EAGAIN
}

// subflowData reads an array of elements of at most size bytes each.
//
//	struct mptcp_subflow_data
//	 0 size_subflow_data  4 num_subflows  8 size_kernel  12 size_user  16 elements
func (q *subflowQuery) subflowData(c *Conn, option int, buf []byte, size int) (count, elementSize int, err error) {
	clear(buf[:subflowDataHead])
	binary.NativeEndian.PutUint32(buf[0:], subflowDataHead)
	binary.NativeEndian.PutUint32(buf[12:], uint32(size))
	opt := getOptQuery()
	defer optQueries.Put(opt)
	n, err := opt.get(c.raw, unix.SOL_MPTCP, option, buf)
	if err != nil {
		return 0, 0, err
	}
	if n < subflowDataHead {
		return 0, 0, unix.EINVAL
	}
	h := fields(buf)
	elementSize = int(h.u32(12))
	if elementSize <= 0 || elementSize > size {
		return 0, 0, unix.EINVAL
	}
	count = min(int(h.u32(4)), (n-subflowDataHead)/elementSize)
	return count, elementSize, nil
}

// setAddrs decodes struct mptcp_subflow_addrs, two struct sockaddr_storage.
func (s *Subflow) setAddrs(b []byte) {
	if len(b) < subflowAddrsSize {
		return
	}
	local, mapped := decodeSockaddr(b[:sockaddrStorage])
	remote, _ := decodeSockaddr(b[sockaddrStorage:subflowAddrsSize])
	s.Local, s.Remote, s.Mapped = local, remote, mapped
}

// decodeSockaddr decodes a struct sockaddr_in or sockaddr_in6; another family
// gives the zero address.
func decodeSockaddr(b []byte) (ap netip.AddrPort, mapped bool) {
	if len(b) < 8 {
		return ap, false
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port), false
	case unix.AF_INET6:
		if len(b) < 24 {
			return ap, false
		}
		addr := netip.AddrFrom16([16]byte(b[8:24]))
		return netip.AddrPortFrom(addr.Unmap(), port), addr.Is4In6()
	}
	return ap, false
}
