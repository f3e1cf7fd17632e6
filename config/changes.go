package config

import "slices"

// ServerChanges names the keys in which two valid server configurations differ,
// in the order of the documentation. Lists of tables are compared as a whole:
// "client".
func ServerChanges(before, after []byte) []string { return changes(serverSchema, before, after) }

// ClientChanges is ServerChanges for configurations of a client.
func ClientChanges(before, after []byte) []string { return changes(clientSchema, before, after) }

func changes(s schema, before, after []byte) []string {
	a, _ := checkedTree(before, s)
	b, _ := checkedTree(after, s)
	if a == nil || b == nil {
		return nil // one of them is none at all
	}
	var keys []string
	s.compare(a, b, "", func(key string) { keys = append(keys, key) })
	return keys
}

// compare tells of the keys of the tables a and b, which start with prefix in
// the schema, that differ.
func (s schema) compare(a, b *node, prefix string, differs func(key string)) {
	for i := range s {
		f := &s[i]
		table, name := split(f.key)
		if table != prefix {
			continue
		}
		x, y := a.get(name), b.get(name)
		switch {
		case f.typ == typeTable && x != nil && y != nil:
			s.compare(x, y, f.key+".", differs)
		case !x.equal(y):
			differs(f.key)
		}
	}
}

// equal reports whether two values say the same, wherever they stand. A list
// that is absent is an empty one.
func (n *node) equal(o *node) bool {
	switch {
	case n == nil && o == nil:
		return true
	case n == nil || o == nil:
		return n.isEmptyList() || o.isEmptyList()
	}
	if n.kind != o.kind || n.str != o.str || n.num != o.num || n.flag != o.flag || len(n.fields) != len(o.fields) {
		return false
	}
	for name, child := range n.fields {
		if other := o.fields[name]; other == nil || !child.equal(other) {
			return false
		}
	}
	return slices.EqualFunc(n.items, o.items, (*node).equal)
}

func (n *node) isEmptyList() bool { return n != nil && n.kind == kindArray && len(n.items) == 0 }
