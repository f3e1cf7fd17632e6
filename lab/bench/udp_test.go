package main

import (
	"net/netip"
	"testing"
)

// A flow comes at the rate that was asked for or less, and ends at both ends.
func TestUDP(t *testing.T) {
	h := oneHost(t)
	s, err := listenUDP(h)
	if err != nil {
		t.Fatal(err)
	}
	f, err := askUDP(t.Context(), way{host: h, to: netip.MustParseAddr("127.0.0.1")}, 20e6)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, blockBytes)
	for bytes := 0; bytes < 1<<20; {
		n, err := f.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if n%udpPacket != 0 {
			t.Fatalf("%d bytes at once, want datagrams of %d", n, udpPacket)
		}
		bytes += n
	}
	f.Close()
	s.close()
}
