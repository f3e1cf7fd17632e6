package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestSpeedFramesRoundTrip(t *testing.T) {
	for _, m := range []Test{{false, time.Millisecond}, {true, 6 * time.Second}, {false, MaxTestTime}} {
		p := payload(t, m.Append(nil), TypeTest)
		if got, err := ParseTest(p); err != nil || got != m {
			t.Errorf("ParseTest = %+v, %v; want %+v", got, err, m)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseTest(b); return err })
	}
	for _, m := range []Tally{{}, {1<<64 - 1, maxTallyAt, 1 << 40, 7}} {
		p := payload(t, m.Append(nil), TypeTally)
		if got, err := ParseTally(p); err != nil || got != m {
			t.Errorf("ParseTally = %+v, %v; want %+v", got, err, m)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseTally(b); return err })
	}
}

func TestSpeedFramesRefused(t *testing.T) {
	for what, p := range map[string][]byte{
		"a direction that there is not": {2, 0, 0, 0, 1}, "no time": {0, 0, 0, 0, 0}, "too much time": {1, 0, 0, 0xea, 0x61},
	} {
		if _, err := ParseTest(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("test with %s: %v", what, err)
		}
	}
	late := Tally{At: maxTallyAt + time.Microsecond}.Append(nil)[HeaderLen:]
	if _, err := ParseTally(late); !errors.Is(err, ErrMalformed) {
		t.Errorf("tally of another day: %v", err)
	}
}

// What parses encodes to the very same bytes.
func FuzzSpeed(f *testing.F) {
	f.Add(Test{true, time.Second}.Append(nil)[HeaderLen:])
	f.Add(Tally{1, time.Second, 2, 3}.Append(nil)[HeaderLen:])
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, err := ParseTest(p); err == nil {
			if again := m.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if m, err := ParseTally(p); err == nil {
			if again := m.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}
