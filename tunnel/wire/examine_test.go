package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func sampleVitals(seen string) Vitals {
	return Vitals{
		Time: time.UnixMicro(1_795_000_000_123_456).UTC(), Flags: FlagMPTCP, Seen: netip.MustParseAddrPort(seen),
		Sent: 200, Lost: 3, Streams: 7, MostStreams: 4096, Software: "braid 0.1",
	}
}

func TestExamination(t *testing.T) {
	p := payload(t, Examine{Bytes: 1 << 20}.Append(nil), TypeExamine)
	if e, err := ParseExamine(p); err != nil || e.Bytes != 1<<20 {
		t.Errorf("%+v, %v", e, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseExamine(b); return err })
	for _, seen := range []string{"198.51.100.6:4711", "[2001:db8::2]:4711"} {
		p := payload(t, sampleVitals(seen).Append(nil), TypeVitals)
		if v, err := ParseVitals(p); err != nil || v != sampleVitals(seen) {
			t.Errorf("%+v, %v", v, err)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseVitals(b); return err })
	}
	bad := sampleVitals("198.51.100.6:4711")
	bad.Flags = FlagResumed
	if _, err := ParseVitals(bad.Append(nil)[HeaderLen:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("unknown flags: %v", err)
	}
	// An examination has no session, and every other kind but packets has one.
	for kind := KindPackets; kind <= KindExamine; kind++ {
		for _, session := range []SessionID{{}, {1}} {
			_, err := ParseHello(Hello{Kind: kind, Session: session}.Append(nil)[HeaderLen:])
			want := kind == KindPackets || session.IsZero() == (kind == KindExamine)
			if (err == nil) != want {
				t.Errorf("kind %d with session %v: %v", kind, session, err)
			}
		}
	}
}

func FuzzVitals(f *testing.F) {
	f.Add(sampleVitals("198.51.100.6:4711").Append(nil)[HeaderLen:])
	f.Add(sampleVitals("[2001:db8::2]:4711").Append(nil)[HeaderLen:])
	f.Fuzz(func(t *testing.T, p []byte) {
		v, err := ParseVitals(p)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := v.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
			t.Fatalf("%x became %x", p, again)
		}
	})
}
