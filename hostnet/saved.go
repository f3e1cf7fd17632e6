package hostnet

import (
	"errors"
	"slices"
	"strings"
)

// sides are the settings that the kernel changes along with forwarding, in
// both directions, and the value it gives them when forwarding is turned on.
func sides(key string, links []Link) []Setting {
	if !isForwarding(key) {
		return nil
	}
	fam := "ipv4"
	var out []Setting
	if key == forward6 {
		fam = "ipv6"
	} else {
		out = append(out, Setting{Key: confKey("ipv4", "all", "accept_redirects"), Value: "0"})
	}
	out = append(out, Setting{Key: confKey(fam, "default", "forwarding"), Value: "1"})
	for _, l := range links {
		out = append(out, Setting{confKey(fam, l.Name, "forwarding"), "1", l.Index})
	}
	return out
}

// saved returns the place of a key in the state, or -1.
func (m *Manager) saved(key string) int {
	return slices.IndexFunc(m.st.Settings, func(s savedValue) bool { return s.Key == key })
}

// original is a setting's value as others want it: the current one, or the
// one before us while ours is in place.
func (m *Manager) original(key string) (string, error) {
	v, err := m.host.Sysctl(key)
	if err != nil {
		return "", err
	}
	if i := m.saved(key); i >= 0 && (m.st.Settings[i].ours(v) || m.undoing(i)) {
		return m.st.Settings[i].Original, nil
	}
	return v, nil
}

// undoing reports whether a saved setting is to become what it was, whatever it is
// now: a change that failed on the way may have left anything.
func (m *Manager) undoing(i int) bool {
	s := m.st.Settings[i]
	of := -1
	if s.Of != "" {
		of = m.saved(s.Of)
	}
	return s.Undoing || of >= 0 && m.st.Settings[of].Undoing
}

// set gives a setting its value and remembers the former one, on disk first.
func (m *Manager) set(s Setting) error {
	if i := m.saved(s.Key); i >= 0 && m.st.Settings[i].Undoing {
		if err := m.giveBack(m.st.Settings[i]); err != nil {
			return err
		}
	}
	now, err := m.host.Sysctl(s.Key)
	if missing(err) {
		m.log.Debug("setting skipped: this kernel has none", "key", s.Key)
		return nil
	}
	if err != nil || now == s.Value {
		return err
	}
	links, err := m.host.Links()
	if err != nil {
		return err
	}
	m.save(s, now, "", links)
	// Those that have the value already too: going back resets them.
	for _, side := range sides(s.Key, links) {
		v, err := m.host.Sysctl(side.Key)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		m.save(side, v, s.Key, links)
	}
	if err := m.st.write(m.path); err != nil {
		return err
	}
	if err := m.do(Change{Object: s}); err != nil {
		return err
	}
	m.st.Settings[m.saved(s.Key)].Former = "" // in the file when that is next written
	return nil
}

// save notes a setting that is now at a value not ours. If it was ours
// before, someone else has changed it since: their value is what to go back
// to.
func (m *Manager) save(s Setting, now, of string, links []Link) {
	v := savedValue{Key: s.Key, Original: now, Set: s.Value, Index: s.index, Of: of}
	if s.index != 0 {
		v.Device = linkOf(links, s.index).Name
	}
	i := m.saved(s.Key)
	if i < 0 {
		m.st.Settings = append(m.st.Settings, v)
		return
	}
	if m.st.Settings[i].ours(now) {
		v.Original, v.Former = m.st.Settings[i].Original, now
	}
	m.st.Settings[i] = v
}

// restore gives back the settings that are no longer wanted and for which
// only is true (nil: all), the last first, as far as it can.
func (m *Manager) restore(wanted []Setting, only func(key string) bool) error {
	keep := make(map[string]bool)
	for _, s := range wanted {
		keep[s.Key] = true
	}
	var errs []error
	for _, s := range slices.Backward(slices.Clone(m.st.Settings)) {
		if s.Of != "" || keep[s.Key] || only != nil && !only(s.Key) {
			continue
		}
		errs = append(errs, m.giveBack(s))
	}
	return errors.Join(errs...)
}

// giveBack restores a setting and what the kernel changes along with it, and
// forgets them. One that has not our value any more belongs to someone else
// now.
func (m *Manager) giveBack(s savedValue) error {
	if !s.Undoing {
		now, err := m.host.Sysctl(s.Key)
		if err != nil && !missing(err) {
			return err
		}
		if err != nil || !s.ours(now) {
			return m.forgetSetting(s.Key)
		}
		// Once the setting is back the kernel has overwritten its sides, and
		// nobody can tell any more what they were: note it before.
		if err := m.noteSides(s.Key); err != nil {
			return err
		}
	}
	back := []savedValue{s}
	for _, side := range m.st.Settings {
		if side.Of == s.Key {
			back = append(back, side)
		}
	}
	for _, v := range back {
		now, err := m.host.Sysctl(v.Key)
		if missing(err) || err == nil && now == v.Original {
			continue
		}
		if err != nil {
			return err
		}
		if err := m.do(Change{Object: Setting{v.Key, v.Original, v.Index}}); err != nil {
			return err
		}
	}
	return m.forgetSetting(s.Key)
}

// noteSides marks a setting as being undone. Its sides that others have
// changed meanwhile keep what they have now.
func (m *Manager) noteSides(key string) error {
	var any bool
	for i := range m.st.Settings {
		side := &m.st.Settings[i]
		if side.Of != key {
			continue
		}
		any = true
		now, err := m.host.Sysctl(side.Key)
		if err != nil && !missing(err) {
			return err
		}
		if err == nil && now != side.Set {
			side.Original = now
		}
	}
	if !any {
		return nil
	}
	m.st.Settings[m.saved(key)].Undoing = true
	return m.st.write(m.path)
}

func (m *Manager) forgetSetting(key string) error {
	m.st.Settings = slices.DeleteFunc(m.st.Settings, func(v savedValue) bool { return v.Key == key || v.Of == key })
	return m.st.write(m.path)
}

// followRenames gives the saved settings of renamed interfaces their new keys
// and forgets those of interfaces that are gone.
func (m *Manager) followRenames(links []Link) {
	m.st.Settings = slices.DeleteFunc(m.st.Settings, func(s savedValue) bool {
		return s.Index != 0 && linkOf(links, s.Index).Name == ""
	})
	for i := range m.st.Settings {
		s := &m.st.Settings[i]
		if s.Index == 0 {
			continue
		}
		if name := linkOf(links, s.Index).Name; name != s.Device {
			from, to := strings.ReplaceAll(s.Device, ".", "/"), strings.ReplaceAll(name, ".", "/")
			s.Key = strings.Replace(s.Key, ".conf."+from+".", ".conf."+to+".", 1)
			s.Device = name
		}
	}
}
