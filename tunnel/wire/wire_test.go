package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sampleHello = Hello{
	Kind: KindPackets, Flags: FlagMPTCP, Session: SessionID{1, 2, 15: 3},
	Features: 1 << 40, Software: "braid 0.1",
}

var sampleWelcome = Welcome{
	Flags: FlagMPTCP | FlagResumed, Session: SessionID{9}, MTU: 1500,
	Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("fd77:b4a1::2/64")},
	Routes:    []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")},
	DNS:       []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::9")},
	Software:  "braid 0.1",
}

// payload strips the header of a single frame and checks it on the way.
func payload(t *testing.T, frame []byte, want Type) []byte {
	t.Helper()
	typ, n, err := ParseHeader(frame)
	if err != nil || typ != want || n != len(frame)-HeaderLen {
		t.Fatalf("ParseHeader = %v, %d, %v; want %v, %d", typ, n, err, want, len(frame)-HeaderLen)
	}
	return frame[HeaderLen:]
}

// truncations checks that every strict prefix of a payload, and the payload
// with a byte too many, is malformed.
func truncations(t *testing.T, p []byte, parse func([]byte) error) {
	t.Helper()
	for n := range p {
		if err := parse(p[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("first %d of %d bytes: error %v, want ErrMalformed", n, len(p), err)
		}
	}
	if err := parse(append(bytes.Clone(p), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("one byte too many: error %v, want ErrMalformed", err)
	}
}

func TestHelloRoundTrip(t *testing.T) {
	p := payload(t, sampleHello.Append(nil), TypeHello)
	got, err := ParseHello(p)
	if err != nil || got != sampleHello {
		t.Fatalf("ParseHello = %+v, %v; want %+v", got, err, sampleHello)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseHello(b); return err })
}

func TestWelcomeRoundTrip(t *testing.T) {
	networks := sampleWelcome
	networks.Features = FeatureStreams | FeatureNetworks
	networks.Networks = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:10::/64")}
	for _, w := range []Welcome{sampleWelcome, networks} {
		p := payload(t, w.Append(nil), TypeWelcome)
		got, err := ParseWelcome(p)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(w, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
			t.Fatal(d)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseWelcome(b); return err })
	}
}

func TestVersions(t *testing.T) {
	for _, v := range []byte{0, 1, 255} {
		var ve *VersionError
		if _, err := ParseHello([]byte{v, 1, 2, 3}); !errors.As(err, &ve) || ve.Theirs != v {
			t.Errorf("hello of version %d: %v", v, err)
		}
		if _, err := ParseWelcome([]byte{v}); !errors.As(err, &ve) || ve.Theirs != v {
			t.Errorf("welcome of version %d: %v", v, err)
		}
	}
}

func TestWelcomeRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Welcome)
		want   string
	}{
		{"no session", func(w *Welcome) { w.Session = SessionID{} }, "no session"},
		{"mtu", func(w *Welcome) { w.MTU = 1279 }, "mtu 1279"},
		{"no address", func(w *Welcome) { w.Addresses = nil }, "no address"},
		{"host bits", func(w *Welcome) { w.Routes[0] = netip.MustParsePrefix("10.0.0.1/8") }, "host bits"},
		{"host bits of a network", func(w *Welcome) {
			w.Features, w.Networks = FeatureNetworks, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}
		}, "host bits"},
		{"flags", func(w *Welcome) { w.Flags = 0x80 }, "flags"},
		{"too many addresses", func(w *Welcome) { w.Addresses = make([]netip.Prefix, 17) }, "at most 16"},
		{"too many routes", func(w *Welcome) {
			w.Routes = nil
			for range 257 {
				w.Routes = append(w.Routes, netip.MustParsePrefix("10.0.0.0/8"))
			}
		}, "at most 256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := sampleWelcome
			w.Routes = append([]netip.Prefix(nil), w.Routes...)
			tt.change(&w)
			_, err := ParseWelcome(w.Append(nil)[HeaderLen:])
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestPingAndNotice(t *testing.T) {
	ping := Ping{FlagMPTCP, 0x0102030405060708}
	p := payload(t, AppendPing(nil, ping), TypePing)
	if got, err := ParsePing(p); err != nil || got != ping {
		t.Fatalf("ParsePing = %+v, %v", got, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParsePing(b); return err })
	p = payload(t, AppendPong(nil, ping), TypePong)
	if got, err := ParsePing(p); err != nil || got != ping {
		t.Fatalf("ParsePing of a pong = %+v, %v", got, err)
	}

	n := Notice{uint8(CloseReplaced), "newer session"}
	p = payload(t, AppendClose(nil, CloseReplaced, n.Reason), TypeClose)
	if got, err := ParseNotice(p); err != nil || got != n {
		t.Fatalf("ParseNotice = %+v, %v", got, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseNotice(b); return err })
}

func TestTextIsCleanedAndCut(t *testing.T) {
	frame := AppendRefuse(nil, RefuseBusy, "a\x1b[31m\xffb"+strings.Repeat("é", 200))
	n, err := ParseNotice(frame[HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(n.Reason, "a?[31m?b") || len(n.Reason) > maxText {
		t.Fatalf("reason %q", n.Reason)
	}
	if _, err := ParseNotice([]byte{1, 2, 'a', 0x1b}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("escape in text: %v", err)
	}
}

func TestParseHeaderLimits(t *testing.T) {
	tests := []struct {
		header [4]byte
		ok     bool
	}{
		{[4]byte{0x10, 0, 0, 39}, true},
		{[4]byte{0x10, 0, 0, 38}, false},
		{[4]byte{0x10, 1, 0, 70}, true},
		{[4]byte{0x10, 1, 0, 71}, false},
		{[4]byte{0x11, 0, 0, 36}, true},
		{[4]byte{0x11, 0, 0, 37}, false},
		{[4]byte{0x10, 255, 255, 255}, false},
		{[4]byte{0x01, 0, 64, 0}, true},
		{[4]byte{0x01, 0, 64, 1}, false},
		{[4]byte{0x01, 0, 0, 0}, false},
		{[4]byte{0x04, 0, 0, 9}, true},
		{[4]byte{0x04, 0, 0, 8}, false},
		{[4]byte{0x00, 0, 0, 1}, false},
		{[4]byte{0x30, 0, 0, 1}, false},
	}
	for _, tt := range tests {
		_, _, err := ParseHeader(tt.header[:])
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("header % x: error %v, want ok %v", tt.header, err, tt.ok)
		}
	}
	if _, _, err := ParseHeader([]byte{0x10, 0}); !errors.Is(err, ErrMalformed) {
		t.Errorf("short header: %v", err)
	}
}
