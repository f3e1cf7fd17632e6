package queue

import (
	"bytes"
	"slices"
	"testing"
)

func TestMarkCE(t *testing.T) {
	for _, base := range []spec{
		{data: 100}, {data: 100, dscp: 46, extensions: 3}, {udp: true, data: 9, id: 0xfffe},
		{v6: true, data: 100}, {v6: true, udp: true, data: 5, dscp: 63}, {data: 9000, size: 1448}, {v6: true, data: 9000, size: 1428},
	} {
		for ecn := range byte(4) {
			s := base
			s.ecn = ecn
			got, want := s.build(), s.build()
			if ecn != NotECT {
				s.ecn = CE
				want = s.build()
			}
			if marked := MarkCE(got); marked != (ecn != NotECT) || !bytes.Equal(got, want) {
				t.Errorf("%+v from %d: %v\n%x, want\n%x", base, ecn, marked, head(got), head(want))
			}
		}
	}
	for _, b := range [][]byte{nil, make([]byte, VnetLen+minIPv4-1), make([]byte, 100)} {
		if MarkCE(b) {
			t.Errorf("marked %x", b)
		}
	}
}

// TestMarkCEChecksum goes through all checksums, the two zeros of one's
// complement included: a receiver's sum stays what it was.
func TestMarkCEChecksum(t *testing.T) {
	b := spec{ecn: ECT0}.build()
	for id := range 1 << 16 {
		c := spec{ecn: ECT0, id: uint16(id)}
		copy(b[VnetLen:], c.build()[VnetLen:VnetLen+minIPv4])
		MarkCE(b)
		if plainSum(0, b[VnetLen:VnetLen+minIPv4]) != 0xffff {
			t.Fatalf("identification %d: %x", id, b[VnetLen:VnetLen+minIPv4])
		}
	}
}

// TestMarkAllSegments: a mark on a super-packet is on each of its segments.
func TestMarkAllSegments(t *testing.T) {
	b := spec{data: 5000, size: 1000, ecn: ECT1}.build()
	want := segments(slices.Clone(b))
	MarkCE(b)
	got := segments(b)
	checkComplete(t, got)
	for i := range got {
		if got[i][1]&3 != CE || !bytes.Equal(got[i][minIPv4:], want[i][minIPv4:]) {
			t.Fatalf("segment %d: %x", i, head(got[i]))
		}
	}
}
