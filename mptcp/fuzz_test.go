package mptcp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Decoders must take any bytes: kernels differ, and what they write grows.

func FuzzDecodeInfo(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 43)) // 6.1
	f.Add(make([]byte, 96))
	f.Fuzz(func(t *testing.T, b []byte) {
		info := DecodeInfo(b)
		if len(b) >= infoMinimum && info.Token != binary.NativeEndian.Uint32(b[12:]) {
			t.Error("token")
		}
		if info.LastDataSent < 0 || info.LastAckReceived < 0 {
			t.Error("negative time")
		}
		if len(b) == 0 && info != (Info{}) {
			t.Error("something out of nothing")
		}
	})
}

func FuzzDecodeTCPInfo(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 104)) // 2.6
	f.Add(make([]byte, 248))
	f.Fuzz(func(t *testing.T, b []byte) {
		info := DecodeTCPInfo(b)
		_ = info.State.String()
		if info.RTT < 0 || info.BusyTime < 0 || info.ReceiveLimited < 0 || info.SendBufferLimited < 0 {
			t.Errorf("negative time: %+v", info)
		}
	})
}

func FuzzDecodeFullInfo(f *testing.F) {
	head := make([]byte, fullInfoHead)
	for offset, v := range map[int]uint32{0: 248, 4: 248, 8: 264, 12: 264, 16: 2, 20: maxSubflows} {
		binary.NativeEndian.PutUint32(head[offset:], v)
	}
	infos := make([]byte, 2*subflowInfoSize)
	binary.NativeEndian.PutUint16(infos[8:], unix.AF_INET6)
	binary.NativeEndian.PutUint16(infos[8+sockaddrStorage:], unix.AF_INET)
	f.Add(head, infos, make([]byte, 2*248))
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, head, infos, tcps []byte) {
		subs, err := decodeFullInfo(nil, head, infos, tcps)
		if err != nil && len(subs) > 0 || len(subs) > maxSubflows {
			t.Errorf("%d subflows, %v", len(subs), err)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(eventAttrToken, 7)
	ae.Uint16(2, unix.AF_INET)
	ae.Bytes(eventAttrSource4, []byte{10, 1, 0, 1})
	ae.Bytes(eventAttrDest6, make([]byte, 16))
	ae.Bytes(eventAttrSourcePort, []byte{1, 0xbb})
	ae.Uint8(eventAttrLocalID, 3)
	ae.Uint8(eventAttrError, 110)
	ae.Uint32(eventAttrResetReason, 1)
	data, err := ae.Encode()
	if err != nil {
		f.Fatal(err)
	}
	ev, err := decodeEvent(uint8(EventSubflowClosed), data)
	if err != nil || ev.Token != 7 || ev.Local != netip.MustParseAddrPort("10.1.0.1:443") || ev.LocalID != 3 ||
		ev.Err != unix.ETIMEDOUT || !ev.Reset || ev.ResetReason.String() != "MPTCP error" {
		f.Fatalf("%+v, %v", ev, err)
	}
	f.Add(uint8(11), data)
	f.Add(uint8(0), []byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		ev, err := decodeEvent(kind, b)
		_, _ = ev.Kind.String(), ev.ResetReason.String()
		if err != nil && ev != (Event{}) {
			t.Errorf("%+v, %v", ev, err)
		}
	})
}

// The answers of the path manager and of the generic netlink controller.
func FuzzDecodeAnswers(f *testing.F) {
	ae := netlink.NewAttributeEncoder()
	addr{AddrPort: netip.MustParseAddrPort("10.1.0.1:443"), id: 3, hasID: true, flags: addrFlagBackup, ifIndex: 5}.encode(ae, attrAddr)
	ae.Uint32(attrSubflows, 8)
	data, err := ae.Encode()
	if err != nil {
		f.Fatal(err)
	}
	want := Endpoint{ID: 3, Addr: netip.MustParseAddr("10.1.0.1"), Port: 443, IfIndex: 5, Backup: true}
	if ep, ok, err := decodeEndpoint(data); err != nil || !ok || ep != want {
		f.Fatalf("%+v, %v, %v", ep, ok, err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok, err := decodeEndpoint(b); ok && err != nil {
			t.Error("both an endpoint and an error")
		}
		_, _ = decodeLimits(b)
		_, _ = decodeCommands(b)
	})
}
