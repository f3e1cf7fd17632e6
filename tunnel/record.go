package tunnel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// recordHeaderLen is the length of a TLS record's header: type, version and
// the length of what follows (RFC 8446, section 5.1).
const recordHeaderLen = 5

// recordRest follows a stream of TLS records.
type recordRest struct {
	header [recordHeaderLen]byte
	have   int // bytes of header
	left   int // bytes that the record still lacks; 0: between records, or in a header
}

// follow takes the next bytes of the stream.
func (r *recordRest) follow(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.header[r.have:], p)
		p = p[n:]
		if r.have += n; r.have == recordHeaderLen {
			r.have = 0
			r.left = int(binary.BigEndian.Uint16(r.header[3:]))
		}
	}
}

// lowWater sets SO_RCVLOWAT: the kernel wakes a reader for so many bytes, or
// for the end. On the usual uplinks a record of 16 KiB comes in a dozen
// packets, and a wake-up costs more than the packet. MPTCP sockets know it
// since Linux 6.10; earlier ones refuse it or wake too early.
type lowWater struct {
	now     int
	refused bool
	set     func(fd uintptr) // made once
}

func (l *lowWater) setsockopt(fd uintptr) {
	l.refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, l.now) != nil
}
