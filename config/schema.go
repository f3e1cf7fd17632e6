package config

import (
	"cmp"
	"fmt"
	"strings"
)

// valueType is what a key takes.
type valueType uint8

const (
	typeString valueType = iota + 1
	typeStrings
	typeInteger
	typeBool
	typeTable
	typeTables
)

// String is the type's name in messages and in docs/configuration.md.
func (t valueType) String() string {
	return [...]string{"", "string", "list of strings", "integer", "boolean", "table", "list of tables"}[t]
}

// article is the type's name in a sentence.
func (t valueType) article() string {
	if t == typeInteger {
		return "an " + t.String()
	}
	return "a " + t.String()
}

// field is one key of a file.
type field struct {
	key      string // "tunnel.mtu", "client[].name"
	typ      valueType
	def      string // the default as TOML, or "" when there is none
	required bool
	example  string // as TOML, for those without a telling default
	how      string // where a required value comes from, or ""
}

func (f *field) name() string {
	_, name := split(f.key)
	return strings.TrimSuffix(name, "[]")
}

// header is the line above one of several tables.
func (f *field) header() string { return "[[" + strings.ReplaceAll(f.key, "[]", "") + "]]" }

// sample is a right value as it stands in a file.
func (f *field) sample() string { return f.name() + " = " + cmp.Or(f.example, f.def) }

// retyped is the mend for the value n, which has the wrong type.
func (f *field) retyped(n *node) string {
	switch {
	case f.typ == typeTable:
		return "write [" + f.name() + "]"
	case f.typ == typeTables:
		return "write " + f.header() + " with double brackets"
	case f.typ == typeStrings && n.kind == kindString:
		return fmt.Sprintf("write %s = [%s]", f.name(), n.text())
	case f.typ == typeBool && n.kind == kindString:
		return "write true or false without quotes"
	case f.typ == typeInteger && n.kind == kindString:
		return "write the number without quotes"
	}
	return "such as " + f.sample()
}

// schema is every key of one file. A table stands before its keys.
type schema []field

// find returns the field name of the table prefix, or nil. A quoted name may
// hold dots and brackets, so the two are compared apart.
func (s schema) find(prefix, name string) *field {
	for i := range s {
		if table, n := split(s[i].key); table == prefix && n == name {
			return &s[i]
		}
	}
	return nil
}

// split divides a key into its table ("", "tunnel.", "client[].") and its
// name.
func split(key string) (table, name string) {
	i := strings.LastIndexByte(key, '.') + 1
	return key[:i], key[i:]
}

// check compares the tree with the schema: it notes unknown keys, wrong types
// and missing keys, marks what cannot be used, and puts in the defaults.
func (s schema) check(root *node, errs *Errors) { s.checkTable(root, "", errs) }

// checkTable does it for the table n, whose keys start with prefix in the
// schema.
func (s schema) checkTable(n *node, prefix string, errs *Errors) {
	under := ""
	if n.path != "" {
		under = n.path + "."
	}
	for _, name := range n.names {
		child := n.fields[name]
		child.path = under + keyText(name)
		child.field = s.find(prefix, name)
		if child.field == nil {
			child.bad = true
			errs.addHidden(child, "unknown key", s.suggest(prefix, name))
			continue
		}
		s.checkValue(child, errs)
	}
	for i := range s {
		f := &s[i]
		table, name := split(f.key)
		if table != prefix || n.fields[name] != nil {
			continue
		}
		absent := &node{kind: kindTable, offset: n.offset, line: n.line, path: under + name}
		switch {
		case f.required:
			mend := "add " + f.sample()
			if f.how != "" {
				mend += ", " + f.how
			}
			errs.addHidden(absent, "missing, it must be set", mend)
			continue
		case f.typ == typeTable:
			absent = newTable(n.offset, 0)
		case f.def != "":
			absent = defaultValue(f.def)
		default:
			continue
		}
		absent.path, absent.field = under+name, f
		for i, item := range absent.items {
			item.path = fmt.Sprintf("%s[%d]", absent.path, i)
		}
		n.set(name, absent)
		if f.typ == typeTable {
			s.checkTable(absent, f.key+".", errs)
		}
	}
}

// checkValue compares one value with its field.
func (s schema) checkValue(n *node, errs *Errors) {
	f := n.field
	want := map[valueType]kind{
		typeString: kindString, typeInteger: kindInteger, typeBool: kindBool,
		typeStrings: kindArray, typeTable: kindTable, typeTables: kindArray,
	}[f.typ]
	if n.kind != want {
		n.bad = true
		errs.add(n, fmt.Sprintf("must be %s, not %v", f.typ.article(), n.kind), f.retyped(n))
		return
	}
	switch f.typ {
	case typeStrings:
		s.checkItems(n, kindString, "put each element in quotes", errs)
	case typeTable:
		s.checkTable(n, f.key+".", errs)
	case typeTables:
		s.checkItems(n, kindTable, "write "+f.header()+" for each", errs)
		for _, item := range n.items {
			s.checkTable(item, f.key+"[].", errs)
		}
	}
}

// checkItems names the elements of a list and takes out those of the wrong
// kind. A list of which nothing is left was not meant to be empty.
func (s schema) checkItems(n *node, want kind, mend string, errs *Errors) {
	good := make([]*node, 0, len(n.items))
	for i, item := range n.items {
		item.path = fmt.Sprintf("%s[%d]", n.path, i)
		if item.kind != want {
			item.bad = true
			errs.add(item, fmt.Sprintf("must be %v, not %v", want, item.kind), mend)
			continue
		}
		good = append(good, item)
	}
	n.bad = len(good) == 0 && len(n.items) > 0
	n.items = good
}

// defaultValue makes a node of a default, as if it stood in the file. A test
// reads them all.
func defaultValue(toml string) *node {
	root, err := parseTree([]byte("default = " + toml))
	if err != nil {
		return nil
	}
	n := root.fields["default"]
	n.offset, n.line = -1, 0
	for _, item := range n.items {
		item.offset, item.line = -1, 0
	}
	return n
}

// keyText is a key's name as it must be written in TOML: quoted unless bare.
func keyText(name string) string {
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	}
	if name == "" || strings.IndexFunc(name, func(r rune) bool { return !bare(r) }) >= 0 {
		return (&node{kind: kindString, str: name}).text()
	}
	return name
}
