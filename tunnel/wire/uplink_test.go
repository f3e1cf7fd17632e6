package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestUplinksRoundTrip(t *testing.T) {
	for _, u := range []Uplinks{
		{},
		{List: []UplinkState{{Name: "dsl"}}},
		{1<<32 - 1, []UplinkState{{"dsl", 1, 2, 3, "answers"}, {"lte", 255, 255, 255, ""}}},
	} {
		p := payload(t, u.Append(nil), TypeUplinks)
		if got, err := ParseUplinks(p); err != nil || !reflect.DeepEqual(got, u) {
			t.Errorf("ParseUplinks = %+v, %v; want %+v", got, err, u)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseUplinks(b); return err })
	}
	many := Uplinks{List: make([]UplinkState, MaxUplinks+9)}
	for i := range many.List {
		many.List[i] = UplinkState{Name: strings.Repeat("n", 300), Reason: strings.Repeat("r", 300)}
	}
	if got, err := ParseUplinks(payload(t, many.Append(nil), TypeUplinks)); err != nil || len(got.List) != MaxUplinks {
		t.Errorf("of too many uplinks: %d, %v", len(got.List), err)
	}
}

func TestPathRoundTrip(t *testing.T) {
	for _, name := range []string{"", "wwan0", strings.Repeat("x", 255)} {
		p := payload(t, Path{name}.Append(nil), TypePath)
		if got, err := ParsePath(p); err != nil || got.Name != name {
			t.Errorf("ParsePath = %+v, %v; want %q", got, err, name)
		}
		truncations(t, p, func(b []byte) error { _, err := ParsePath(b); return err })
	}
}

func TestBacklogRoundTrip(t *testing.T) {
	for _, l := range []Backlog{{}, {1}, {1<<32 - 1}} {
		p := payload(t, l.Append(nil), TypeBacklog)
		if got, err := ParseBacklog(p); err != nil || got != l {
			t.Errorf("ParseBacklog = %+v, %v; want %+v", got, err, l)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseBacklog(b); return err })
	}
}

func TestLossesRoundTrip(t *testing.T) {
	for _, l := range []Losses{{}, {List: []UplinkLoss{{"dsl", 0}, {"lte", 10000}}}, {List: []UplinkLoss{{"", 1<<16 - 1}}}} {
		p := payload(t, l.Append(nil), TypeLosses)
		if got, err := ParseLosses(p); err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("ParseLosses = %+v, %v; want %+v", got, err, l)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseLosses(b); return err })
	}
	many := Losses{List: make([]UplinkLoss, MaxUplinks+9)}
	for i := range many.List {
		many.List[i].Name = strings.Repeat("n", 300)
	}
	if got, err := ParseLosses(payload(t, many.Append(nil), TypeLosses)); err != nil || len(got.List) != MaxUplinks {
		t.Errorf("of too many losses: %d, %v", len(got.List), err)
	}
}

func FuzzUplinks(f *testing.F) {
	f.Add(Uplinks{List: []UplinkState{{"dsl", 1, 2, 3, "answers"}}}.Append(nil)[HeaderLen:])
	f.Add(Path{"lte"}.Append(nil)[HeaderLen:])
	f.Add(Losses{List: []UplinkLoss{{"lte", 200}}}.Append(nil)[HeaderLen:])
	f.Fuzz(func(t *testing.T, p []byte) {
		if u, err := ParseUplinks(p); err == nil {
			if again := u.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if l, err := ParseLosses(p); err == nil {
			if again := l.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if _, err := ParsePath(p); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}
