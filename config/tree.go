package config

import (
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the TOML type of a value.
type kind uint8

const (
	kindString kind = iota + 1
	kindInteger
	kindFloat
	kindBool
	kindTime
	kindArray
	kindTable
)

func (k kind) String() string {
	return [...]string{"nothing", "a string", "an integer", "a fraction", "a boolean", "a date or time", "a list", "a table"}[k]
}

// node is a value of the file with its place. TOML decoders stop at the first
// wrong type; a tree lets the check go on, and remembers where things stood.
type node struct {
	kind   kind
	offset int // of its key, or of itself in a list, in bytes
	line   int // from 1; 0 for what is not in the file

	str  string // of a string
	num  int64  // of an integer
	flag bool   // of a boolean
	raw  string // as written, for all but strings, lists and tables

	names  []string // of a table's fields, in the order of the file
	fields map[string]*node
	items  []*node

	// The check fills these in.
	path  string // the full key
	field *field // what the schema says
	bad   bool   // of the wrong type: to be treated as absent
}

// get returns a field of a table, or nil when it is absent or unusable.
func (n *node) get(name string) *node {
	if n == nil || n.fields[name] == nil || n.fields[name].bad {
		return nil
	}
	return n.fields[name]
}

// list returns the usable elements of a list; none of nil.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

// isTrue reports whether a table has the boolean name, and it is true.
func (n *node) isTrue(name string) bool {
	b := n.get(name)
	return b != nil && b.flag
}

func (n *node) set(name string, value *node) {
	if n.fields[name] == nil {
		n.names = append(n.names, name)
	}
	n.fields[name] = value
}

// text is the value for an error message, on one line and short.
func (n *node) text() string {
	const limit = 60 // enough for an address or a name, short enough for a line
	switch n.kind {
	case kindString:
		if r := []rune(n.str); len(r) > limit {
			return strconv.Quote(string(r[:limit]) + "…")
		}
		return strconv.Quote(n.str)
	case kindArray:
		if len(n.items) == 0 {
			return "[]"
		}
		return ""
	case kindTable:
		return ""
	}
	return n.raw
}

func newTable(offset, line int) *node {
	return &node{kind: kindTable, offset: offset, line: line, fields: map[string]*node{}}
}

// parseTree reads a TOML document. A syntax error ends it, and is returned
// alone.
func parseTree(data []byte) (*node, *Error) {
	// The first pass is the library's own: it knows every rule of TOML (no key
	// twice, dates that exist, …), but not where the values stand.
	var ignored map[string]any
	if err := toml.Unmarshal(data, &ignored); err != nil {
		e := &Error{Problem: "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: "), Mend: "look at the quotes, brackets and = signs there"}
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, column := d.Position()
			e.Line, e.Problem = row, e.Problem+" (column "+strconv.Itoa(column)+")"
		}
		e.Problem = oneLine(e.Problem)
		return nil, e
	}

	b := builder{root: newTable(-1, 0)}
	for i, c := range data {
		if c == '\n' {
			b.lineEnds = append(b.lineEnds, i)
		}
	}
	b.table = b.root
	b.parser.Reset(data)
	for b.parser.NextExpression() {
		b.expression(b.parser.Expression())
	}
	if err := b.parser.Error(); err != nil {
		return nil, &Error{Problem: oneLine("not valid TOML: " + err.Error())}
	}
	return b.root, nil
}

// oneLine makes text safe for one line of a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// builder makes the tree out of the parser's expressions, which the first pass
// has found to fit together.
type builder struct {
	parser   unstable.Parser
	lineEnds []int // offsets of the newlines
	root     *node
	table    *node // of the last [table] or [[table]]
}

func (b *builder) line(offset int) int { return sort.SearchInts(b.lineEnds, offset) + 1 }

func (b *builder) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.KeyValue:
		b.keyValue(b.table, e)
	case unstable.Table:
		parent, key := b.descend(b.root, e.Key())
		b.table = b.child(parent, key)
	case unstable.ArrayTable:
		parent, key := b.descend(b.root, e.Key())
		name, offset := string(key.Data), int(key.Raw.Offset)
		list := parent.fields[name]
		if list == nil {
			list = &node{kind: kindArray, offset: offset, line: b.line(offset)}
			parent.set(name, list)
		}
		b.table = newTable(offset, b.line(offset))
		list.items = append(list.items, b.table)
	}
}

// descend follows all parts of a dotted key but the last, which it returns.
func (b *builder) descend(from *node, keys unstable.Iterator) (*node, *unstable.Node) {
	keys.Next()
	for !keys.IsLast() {
		from = b.child(from, keys.Node())
		keys.Next()
	}
	return from, keys.Node()
}

// child returns the table at key, the last one of a list of tables, and makes
// it when it is not there yet.
func (b *builder) child(parent *node, key *unstable.Node) *node {
	name, offset := string(key.Data), int(key.Raw.Offset)
	n := parent.fields[name]
	if n != nil && n.kind == kindArray && len(n.items) > 0 {
		n = n.items[len(n.items)-1]
	}
	if n == nil || n.kind != kindTable {
		n = newTable(offset, b.line(offset))
		parent.set(name, n)
	}
	return n
}

func (b *builder) keyValue(table *node, e *unstable.Node) {
	parent, key := b.descend(table, e.Key())
	parent.set(string(key.Data), b.value(e.Value(), int(key.Raw.Offset)))
}

// value makes a node; offset is its key's or its list's.
func (b *builder) value(v *unstable.Node, offset int) *node {
	n := &node{offset: offset, line: b.line(offset), raw: string(b.parser.Raw(v.Raw))}
	switch v.Kind {
	case unstable.String:
		n.kind, n.str = kindString, string(v.Data)
	case unstable.Integer:
		n.kind = kindInteger
		n.num, _ = strconv.ParseInt(string(v.Data), 0, 64) // the first pass has checked it
	case unstable.Float:
		n.kind = kindFloat
	case unstable.Bool:
		n.kind, n.flag = kindBool, string(v.Data) == "true"
	case unstable.Array:
		n.kind = kindArray
		at := offset
		for it := v.Children(); it.Next(); {
			// The parser does not say where a list in a list stands; it keeps
			// its place behind the one before it.
			if raw := it.Node().Raw; raw.Length > 0 {
				at = int(raw.Offset)
			}
			n.items = append(n.items, b.value(it.Node(), at))
		}
	case unstable.InlineTable:
		n.kind, n.fields = kindTable, map[string]*node{}
		for it := v.Children(); it.Next(); {
			b.keyValue(n, it.Node())
		}
	default:
		n.kind = kindTime
	}
	return n
}
