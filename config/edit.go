package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"braid/crypto"
)

// Edits of a server.toml as text, so that what its owner wrote stays as it is:
// comments, order and formatting.

// EditError says why a file was not edited.
type EditError struct {
	Problem string
	Mend    string // what to do about it, or ""
}

func (e *EditError) Error() string { return e.Problem }

// Hint says how to mend it.
func (e *EditError) Hint() string { return e.Mend }

// NewClient is a client to be added.
type NewClient struct {
	Name      string
	PublicKey crypto.PublicKey
	Routes    []string // networks behind it, as in client[].routes
}

// AddClient returns a server's configuration with one more [[client]] at its
// end, and that client. It has addresses of its own then, those that it would
// have been given without: so they stay the same when others go. The error is
// *Errors where the configuration itself is faulty, and else an *EditError.
func AddClient(data []byte, c NewClient) ([]byte, ServerClient, error) {
	fail := func(problem, mend string) ([]byte, ServerClient, error) {
		return nil, ServerClient{}, &EditError{problem, mend}
	}
	before, err := ParseServer(data, "")
	if err != nil {
		return nil, ServerClient{}, err
	}
	if _, wrong := parseClientName(c.Name); wrong != nil {
		return fail(fmt.Sprintf("client's name %q %s", shortened(c.Name), wrong.problem), wrong.mend)
	}
	if slices.ContainsFunc(before.Clients, func(o ServerClient) bool { return o.Name == c.Name }) {
		return fail(fmt.Sprintf("there is a client %q already", c.Name), "choose another name, or end that one with: braid revoke "+c.Name)
	}
	for _, r := range c.Routes {
		if _, wrong := parseRoute(r); wrong != nil {
			return fail(fmt.Sprintf("route %q %s", shortened(r), wrong.problem), wrong.mend)
		}
	}
	if !clientsAreTables(data) {
		return fail("its clients are written as client = […], to which nothing can be added", "write a [[client]] for each")
	}
	var added ServerClient
	var text []byte
	for range 2 { // the second time with the addresses that the first one found
		text = appendClient(data, c, added.Addresses)
		after, err := ParseServer(text, "")
		if faults, ok := err.(*Errors); ok {
			first := faults.List[0]
			return fail(fmt.Sprintf("it would be wrong with this client: %v", first), first.Mend)
		}
		if len(after.Clients) != len(before.Clients)+1 {
			return fail("a client cannot be added at its end", "add it by hand")
		}
		added = after.Clients[len(after.Clients)-1]
	}
	return text, added, nil
}

// appendClient writes a [[client]] behind data, with its kind of line ends.
func appendClient(data []byte, c NewClient, addresses []netip.Addr) []byte {
	var b strings.Builder
	if len(data) > 0 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "[[client]]\nname = %s\npublic_key = %s\n", quoted(c.Name), quoted(c.PublicKey.String()))
	list := func(key string, texts []string) {
		if len(texts) > 0 {
			fmt.Fprintf(&b, "%s = [%s]\n", key, strings.Join(texts, ", "))
		}
	}
	var mine, routes []string
	for _, a := range addresses {
		mine = append(mine, quoted(a.String()))
	}
	for _, r := range c.Routes {
		routes = append(routes, quoted(r))
	}
	list("addresses", mine)
	list("routes", routes)
	text, end := b.String(), "\n"
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		end = "\r\n"
	}
	out := bytes.Clone(data)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, end...)
	}
	return append(out, strings.ReplaceAll(text, "\n", end)...)
}

// RemoveClient returns a server's configuration without the [[client]] of that
// name: its lines, the tables in it, and comments that touch it. Others no longer
// reach it: reached are the names of those whose client[].reach named it. The error
// is *Errors where the configuration itself is faulty, and else an *EditError.
func RemoveClient(data []byte, name string) (text []byte, reached []string, err error) {
	fail := func(problem, mend string) ([]byte, []string, error) { return nil, nil, &EditError{problem, mend} }
	before, err := ParseServer(data, "")
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(before.Clients, func(c ServerClient) bool { return c.Name == name })
	if at < 0 {
		var known []string
		for _, c := range before.Clients {
			known = append(known, c.Name)
		}
		mend := "there is none"
		if len(known) > 0 {
			mend = "there are: " + strings.Join(known, ", ")
		}
		return fail(fmt.Sprintf("there is no client %q", shortened(name)), mend)
	}
	from, to, ok := clientBlock(data, at)
	if !ok {
		return fail(fmt.Sprintf("the client %q is not written as a [[client]] of its own", name), "remove it by hand, and then: braid reload")
	}
	for i, c := range before.Clients {
		if i != at && slices.Contains(c.Reach, name) {
			reached = append(reached, c.Name)
		}
	}
	text, _ = forget(slices.Concat(data[:from], data[to:]), name)
	after, err := ParseServer(text, "")
	if faults, ok := err.(*Errors); ok {
		first := faults.List[0]
		return fail(fmt.Sprintf("it would be wrong without the client %q: %v", name, first), first.Mend)
	}
	same := func(a, b ServerClient) bool { return a.Name == b.Name && a.PublicKey == b.PublicKey }
	if !slices.EqualFunc(slices.Delete(before.Clients, at, at+1), after.Clients, same) {
		return fail(fmt.Sprintf("the client %q cannot be told from what is around it", name), "remove it by hand, and then: braid reload")
	}
	return text, reached, nil
}

// header is a [table] or a [[table]] of a file.
type header struct {
	keys  []string
	list  bool // with double brackets
	start int  // of its line, in bytes
}

// headers lists the tables of a valid file, in its order.
func headers(data []byte) []header {
	var list []header
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		h := header{list: e.Kind == unstable.ArrayTable, start: -1}
		for keys := e.Key(); keys.Next(); {
			if h.start < 0 {
				h.start = lineStart(data, int(keys.Node().Raw.Offset))
			}
			h.keys = append(h.keys, string(keys.Node().Data))
		}
		list = append(list, h)
	}
	return list
}

func lineStart(data []byte, offset int) int { return bytes.LastIndexByte(data[:offset], '\n') + 1 }

// isClient reports whether the header begins a client.
func (h header) isClient() bool { return h.list && len(h.keys) == 1 && h.keys[0] == "client" }

// clientsAreTables reports whether a [[client]] may be added to a valid file.
func clientsAreTables(data []byte) bool {
	root, err := parseTree(data)
	if err != nil || root.fields["client"] == nil {
		return err == nil
	}
	return slices.ContainsFunc(headers(data), header.isClient)
}

// clientBlock returns where the n-th [[client]] stands, from 0, with the tables
// and comments that belong to it and a blank line above.
func clientBlock(data []byte, n int) (from, to int, ok bool) {
	list := headers(data)
	i := slices.IndexFunc(list, func(h header) bool {
		if h.isClient() {
			n--
		}
		return n < 0
	})
	if i < 0 {
		return 0, 0, false
	}
	from, to = list[i].start, len(data)
	next := slices.IndexFunc(list[i+1:], func(h header) bool { return h.isClient() || h.keys[0] != "client" })
	if next >= 0 {
		to = list[i+1+next].start
	}
	to = blockEnd(data, from, to, next < 0)
	for from > 0 && kindOfLine(previousLine(data, from)) == lineComment {
		from = lineStart(data, from-1)
	}
	if from > 0 && kindOfLine(previousLine(data, from)) == lineBlank {
		from = lineStart(data, from-1)
	}
	return from, to, true
}

// blockEnd is where a block ends that begins at from, and has to end before the
// next header at limit, or with the file: behind its last value and the comments
// that touch it, unless these touch the next header.
func blockEnd(data []byte, from, limit int, last bool) int {
	end := limit
	// The last line of a value is neither blank nor a comment, not even in a
	// text or list of several lines.
	for end > from && kindOfLine(previousLine(data, end)) != lineOther {
		end = lineStart(data, end-1)
	}
	comments := end
	for comments < limit {
		line, _, _ := bytes.Cut(data[comments:limit], []byte("\n"))
		if kindOfLine(line) != lineComment {
			return comments
		}
		comments = min(comments+len(line)+1, limit)
	}
	if last {
		return comments
	}
	return end
}

// previousLine is the line that ends at offset, with its line end.
func previousLine(data []byte, offset int) []byte { return data[lineStart(data, offset-1):offset] }

type lineKind uint8

const (
	lineOther lineKind = iota
	lineBlank
	lineComment
)

func kindOfLine(line []byte) lineKind {
	switch line = bytes.TrimSpace(line); {
	case len(line) == 0:
		return lineBlank
	case line[0] == '#':
		return lineComment
	}
	return lineOther
}
