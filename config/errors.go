package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault in a configuration.
type Error struct {
	File    string // as the caller named it; "" when parsed from memory
	Line    int    // in the file, from 1; 0 when the fault is something absent
	Key     string // in full: "client[1].addresses[0]", lists count from 0; "" for a syntax error
	Value   string // the offending value as TOML, shortened; "" when there is none to show
	Problem string // what is wrong and what is allowed
	Mend    string // what to write instead, or ""

	offset int // in the file, the order in which errors are listed
}

// Error is one line without the hint: "server.toml:7: tunnel.mtu = 100: …".
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.File != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	case e.Line > 0:
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	b.WriteString(e.Key)
	if e.Value != "" {
		b.WriteString(" = " + e.Value)
	}
	if e.Key != "" {
		b.WriteString(": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Hint says how to mend it, or "". With it Error is a crypto.Hinter.
func (e *Error) Hint() string { return e.Mend }

// Errors is every fault of a configuration, in the order of the file.
type Errors struct {
	// List is never empty in an Errors that was returned. A program that
	// prints "error:" and "hint:" lines ranges over it.
	List []*Error
}

// Error is one line for each fault, its hint behind a semicolon.
func (e *Errors) Error() string {
	lines := make([]string, len(e.List))
	for i, one := range e.List {
		lines[i] = one.Error()
		if one.Mend != "" {
			lines[i] += "; " + one.Mend
		}
	}
	return strings.Join(lines, "\n")
}

// add notes a fault of the value at n.
func (e *Errors) add(n *node, problem, mend string) {
	e.addHidden(n, problem, mend)
	e.List[len(e.List)-1].Value = n.text()
}

// addHidden is add for values that are not shown, because they may be secret
// or say nothing.
func (e *Errors) addHidden(n *node, problem, mend string) {
	e.List = append(e.List, &Error{Line: n.line, Key: n.path, Problem: problem, Mend: mend, offset: n.offset})
}

// touches reports whether a fault was noted for the value at path or for an
// element of it.
func (e *Errors) touches(path string) bool {
	return slices.ContainsFunc(e.List, func(one *Error) bool {
		return one.Key == path || strings.HasPrefix(one.Key, path+"[")
	})
}

// inFile names the file in every fault.
func (e *Errors) inFile(name string) {
	for _, one := range e.List {
		one.File = name
	}
}

// sorted returns e in the order of the file, or nil when nothing is wrong. It
// returns the error interface, so that nil is nil.
func (e *Errors) sorted() error {
	if len(e.List) == 0 {
		return nil
	}
	slices.SortStableFunc(e.List, func(a, b *Error) int { return cmp.Compare(a.offset, b.offset) })
	return e
}
