package scheduler

import (
	"fmt"
	"strings"
	"testing"
)

// uplinks reads "dsl bond up, lte overflow late near q".
func uplinks(t *testing.T, text string) (list []Uplink) {
	for one := range strings.SplitSeq(text, ", ") {
		words := strings.Fields(one)
		u := Uplink{Name: words[0]}
		for _, w := range words[1:] {
			if r, err := ParseRole(w); err == nil {
				u.Role = r
				continue
			}
			known := w == "q"
			u.Quarantined = u.Quarantined || known
			for s := Probing; s <= Off; s++ {
				if s.String() == w {
					u.State, known = s, true
				}
			}
			for l := CapFree; l <= CapSpent; l++ {
				if l.String() == w {
					u.Cap, known = l, true
				}
			}
			if !known {
				t.Fatalf("%q: what is %s?", text, w)
			}
		}
		list = append(list, u)
	}
	return list
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		uplinks string
		engaged bool
		want    string
	}{
		{"a bond up, b bond late", false, "a active: its role is bond; b active: its role is bond"},
		{"a bond dead, b bond probing, c bond off, d never up", true, "a none: it is dead; b none: it is probing; c none: it is off; d none: its role is never"},
		{"a bond up, b overflow up, c backup up", false, "a active: its role is bond; b standby: its role is overflow; c standby: its role is backup"},
		{"a bond up, b overflow up, c backup up", true, "a active: its role is bond; b active: its role is overflow, and the bond is full; c standby: its role is backup"},
		{"a bond dead, b overflow up, c backup up", false, "a none: it is dead; b active: its role is overflow, and no bond uplink works; c standby: its role is backup"},
		{"a bond dead, b overflow probing, c backup up", false, "a none: it is dead; b none: it is probing; c active: its role is backup, and no other uplink works"},
		{"a bond late, b overflow up, c backup up", false, "a active: its role is bond; b standby: its role is overflow; c standby: its role is backup"},
		{"a bond up near, b bond up", false, "a standby: its monthly cap is nearly spent; b active: its role is bond"},
		{"a bond up near, b bond up", true, "a active: its monthly cap is nearly spent, and the bond is full; b active: its role is bond"},
		{"a bond up near", false, "a active: its monthly cap is nearly spent, and no bond uplink works"},
		{"a bond up spent, b overflow up", false, "a standby: its monthly cap is spent; b active: its role is overflow, and no bond uplink works"},
		{"a bond up spent, b backup up", false, "a active: its monthly cap is spent, and no other uplink works; b active: its role is backup, and no other uplink works"},
		{"a overflow up near, b bond up", true, "a active: its role is overflow, and the bond is full; b active: its role is bond"},
		{"a overflow up spent, b bond up", true, "a standby: its monthly cap is spent; b active: its role is bond"},
		{"a bond up q, b bond up", false, "a standby: it makes the whole slower; b active: its role is bond"},
		{"a bond quarantined, b bond up", false, "a standby: it makes the whole slower; b active: its role is bond"},
		{"a bond up q", false, "a active: it makes the whole slower, but nothing better works"},
		{"a bond up q, b overflow up", false, "a standby: it makes the whole slower; b active: its role is overflow, and no bond uplink works"},
		{"a backup up, b bond up q", false, "a standby: its role is backup; b active: it makes the whole slower, but nothing better works"},
		{"a overflow up q, b bond up q", true, "a standby: it makes the whole slower; b active: it makes the whole slower, but nothing better works"},
		{"a bond dead q, b backup up q", false, "a none: it is dead; b active: it makes the whole slower, but nothing better works"},
		{"a never quarantined", false, "a none: its role is never"},
	} {
		var got []string
		for _, d := range Plan(uplinks(t, test.uplinks), test.engaged) {
			got = append(got, fmt.Sprintf("%s %v: %s", d.Name, d.Use, d.Reason))
		}
		if s := strings.Join(got, "; "); s != test.want {
			t.Errorf("%s, engaged %v:\n got %s\nwant %s", test.uplinks, test.engaged, s, test.want)
		}
	}
	if got := Plan(nil, true); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// All combinations of two uplinks with all they can have, and a third that is
// up, dead or quarantined in each role.
func TestPlanAlways(t *testing.T) {
	var kinds []Uplink
	for role := Bond; role <= Never+1; role++ {
		for state := Probing; state <= Off; state++ {
			for level := CapFree; level <= CapSpent; level++ {
				kinds = append(kinds, Uplink{Role: role, State: state, Cap: level}, Uplink{Role: role, State: state, Cap: level, Quarantined: true})
			}
		}
	}
	var thirds []Uplink
	for role := Bond; role <= Never; role++ {
		thirds = append(thirds, Uplink{Role: role, State: Up}, Uplink{Role: role, State: Dead}, Uplink{Role: role, State: Quarantined})
	}
	list := make([]Uplink, 3)
	for _, list[0] = range kinds {
		for _, list[1] = range kinds {
			for _, list[2] = range thirds {
				for _, engaged := range []bool{false, true} {
					checkPlan(t, list, engaged)
				}
			}
		}
	}
}

func checkPlan(t *testing.T, list []Uplink, engaged bool) {
	decisions := Plan(list, engaged)
	living, active, bondWorks := 0, 0, false
	for i, u := range list {
		lives := u.Role < Never && (u.State == Up || u.State == Late || u.State == Quarantined)
		if lives {
			living++
		}
		q := u.Quarantined || u.State == Quarantined
		bondWorks = bondWorks || lives && !q && u.Role == Bond && u.Cap == CapFree
		d := decisions[i]
		if d.Use == Active {
			active++
		}
		switch {
		case d.Reason == "":
			t.Fatalf("%+v: no reason for %d", list, i)
		case lives == (d.Use == None):
			t.Fatalf("%+v: %d is %v", list, i, d.Use)
		case lives && !q && u.Role == Bond && u.Cap == CapFree && d.Use != Active:
			t.Fatalf("%+v: bond %d is %v", list, i, d.Use)
		}
	}
	if (living > 0) != (active > 0) {
		t.Fatalf("%+v, engaged %v: %d live, %d are active", list, engaged, living, active)
	}
	for i, u := range list {
		d := decisions[i]
		switch {
		case bondWorks && d.Use == Active && (u.Role == Backup || u.Cap == CapSpent || u.Quarantined || u.State == Quarantined):
			t.Fatalf("%+v: %d is active though a bond uplink works", list, i)
		case bondWorks && !engaged && d.Use == Active && (u.Role != Bond || u.Cap != CapFree):
			t.Fatalf("%+v: %d is active though the bond suffices", list, i)
		}
	}
}
