package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

var (
	sampleOpen = Open{
		Stream: StreamID{1, 15: 2}, Source: netip.MustParseAddrPort("10.77.0.2:40000"),
		Destination: netip.MustParseAddrPort("192.0.2.7:443"), Limit: 4 << 20,
	}
	sampleOpen6 = Open{
		Stream: StreamID{3}, Source: netip.MustParseAddrPort("[fd77:b4a1::2]:40000"),
		Destination: netip.MustParseAddrPort("[2001:db8::7]:443"), Limit: 1,
	}
	sampleOpened = Opened{Result: OpenRefused, Limit: 1 << 33, Reason: "connection refused"}
	sampleAck    = StreamAck{Received: 1 << 40, Limit: 1<<40 + 5, Fin: true}
	sampleResume = Resume{Stream: StreamID{7}, Ack: sampleAck}
)

func TestStreamFramesRoundTrip(t *testing.T) {
	for _, o := range []Open{sampleOpen, sampleOpen6} {
		p := payload(t, o.Append(nil), TypeOpen)
		if got, err := ParseOpen(p); err != nil || got != o {
			t.Errorf("ParseOpen = %+v, %v; want %+v", got, err, o)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseOpen(b); return err })
	}

	p := payload(t, sampleOpened.Append(nil), TypeOpened)
	if got, err := ParseOpened(p); err != nil || got != sampleOpened {
		t.Errorf("ParseOpened = %+v, %v", got, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseOpened(b); return err })

	for typ, frame := range map[Type][]byte{
		TypeAck: AppendAck(nil, sampleAck), TypeResumed: AppendResumed(nil, sampleAck),
	} {
		p := payload(t, frame, typ)
		if got, err := ParseAck(p); err != nil || got != sampleAck {
			t.Errorf("ParseAck of %v = %+v, %v", typ, got, err)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseAck(b); return err })
	}

	p = payload(t, sampleResume.Append(nil), TypeResume)
	if got, err := ParseResume(p); err != nil || got != sampleResume {
		t.Errorf("ParseResume = %+v, %v", got, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseResume(b); return err })

	p = payload(t, AppendReset(nil, ResetUnknown, "who?"), TypeReset)
	if got, err := ParseNotice(p); err != nil || got != (Notice{uint8(ResetUnknown), "who?"}) {
		t.Errorf("ParseNotice of a reset = %+v, %v", got, err)
	}
	truncations(t, p, func(b []byte) error { _, err := ParseNotice(b); return err })

	for _, w := range []Want{{}, {1}, {1<<16 - 1}} {
		p = payload(t, w.Append(nil), TypeWant)
		if got, err := ParseWant(p); err != nil || got != w {
			t.Errorf("ParseWant = %+v, %v; want %+v", got, err, w)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseWant(b); return err })
	}

	if p := payload(t, AppendData(nil, make([]byte, MaxDataLen)), TypeData); len(p) != MaxDataLen {
		t.Errorf("data of %d bytes", len(p))
	}
	if p := payload(t, AppendFin(nil), TypeFin); len(p) != 0 {
		t.Errorf("fin of %d bytes", len(p))
	}
}

func TestStreamFramesRefused(t *testing.T) {
	mixed := sampleOpen
	mixed.Source = sampleOpen6.Source
	if _, err := ParseOpen(mixed.Append(nil)[HeaderLen:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("open of two families: %v", err)
	}
	flags := AppendAck(nil, sampleAck)[HeaderLen:]
	flags[16] |= 2
	if _, err := ParseAck(flags); !errors.Is(err, ErrMalformed) {
		t.Errorf("ack with unknown flags: %v", err)
	}
	back := AppendAck(nil, StreamAck{Received: 2, Limit: 1})[HeaderLen:]
	if _, err := ParseAck(back); !errors.Is(err, ErrMalformed) {
		t.Errorf("ack with its limit before what was received: %v", err)
	}
	for _, h := range [][4]byte{
		{0x20, 0, 0, 37}, {0x20, 0, 0, 63}, {0x21, 0, 0, 9}, {0x21, 0, 1, 10}, {0x22, 0, 0, 0}, {0x22, 1, 0, 1},
		{0x23, 0, 0, 1}, {0x24, 0, 0, 16}, {0x24, 0, 0, 18}, {0x25, 0, 0, 1}, {0x25, 0, 1, 2},
		{0x26, 0, 0, 32}, {0x26, 0, 0, 34}, {0x27, 0, 0, 16}, {0x28, 0, 0, 1},
		{0x28, 0, 0, 3}, {0x29, 0, 0, 4}, {0x29, 0, 0, 6}, {0x2a, 0, 0, 31}, {0x2a, 0, 0, 33}, {0x2b, 0, 0, 1},
	} {
		if _, _, err := ParseHeader(h[:]); !errors.Is(err, ErrMalformed) {
			t.Errorf("header % x: %v", h, err)
		}
	}
}

func TestStreamTypesHaveNames(t *testing.T) {
	if s := TypeWant.String(); s != "want" {
		t.Errorf("TypeWant is called %q", s)
	}
	for typ := TypeOpen; typ <= TypeTally; typ++ {
		if _, ok := typeNames[typ]; !ok {
			t.Errorf("type %#x has no name", uint8(typ))
		}
		if _, _, ok := lengthLimits(typ); !ok {
			t.Errorf("%v has no limits", typ)
		}
	}
}

// What parses encodes to the very same bytes, and nothing else parses.
func FuzzWant(f *testing.F) {
	f.Add(Want{Carriers: 3}.Append(nil)[HeaderLen:])
	f.Add([]byte{1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		w, err := ParseWant(p)
		if (err == nil) != (len(p) == wantLen) {
			t.Fatalf("ParseWant of %d bytes: %v", len(p), err)
		}
		if err == nil && !bytes.Equal(w.Append(nil)[HeaderLen:], p) {
			t.Fatalf("parsed % x, encodes to % x", p, w.Append(nil))
		}
	})
}
