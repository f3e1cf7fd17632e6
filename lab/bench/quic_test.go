package main

import (
	"io"
	"net/netip"
	"testing"

	"braid/lab"
)

// oneHost is a host that reaches itself.
func oneHost(t *testing.T) *lab.Host {
	t.Helper()
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h, err := l.Host("host")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A download over QUIC brings what is asked for, and ends at both ends.
func TestQUIC(t *testing.T) {
	h := oneHost(t)
	s, err := listenQUIC(h)
	if err != nil {
		t.Fatal(err)
	}
	f, err := dialQUIC(t.Context(), way{host: h, to: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, f, 4<<20); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	f.Close()
	s.close()
}
