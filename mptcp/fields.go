package mptcp

import (
	"encoding/binary"
	"time"
)

// fields is a C structure as the kernel filled it. Kernel structures grow at
// their end: what an older kernel did not write reads as zero, and what a newer
// one has beyond our knowledge is not looked at.
type fields []byte

func (f fields) u8(offset int) uint8 {
	if len(f) < offset+1 {
		return 0
	}
	return f[offset]
}

func (f fields) u16(offset int) uint16 {
	if len(f) < offset+2 {
		return 0
	}
	return binary.NativeEndian.Uint16(f[offset:])
}

func (f fields) u32(offset int) uint32 {
	if len(f) < offset+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(f[offset:])
}

func (f fields) u64(offset int) uint64 {
	if len(f) < offset+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(f[offset:])
}

func (f fields) micros32(offset int) time.Duration {
	return time.Duration(f.u32(offset)) * time.Microsecond
}

// micros64 is limited to what a Duration holds, 292 years.
func (f fields) micros64(offset int) time.Duration {
	const most = uint64((1<<63 - 1) / int64(time.Microsecond))
	return time.Duration(min(f.u64(offset), most)) * time.Microsecond
}

func (f fields) millis32(offset int) time.Duration {
	return time.Duration(f.u32(offset)) * time.Millisecond
}
