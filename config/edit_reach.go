package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// span is a place in a file, in bytes.
type span struct{ from, to int }

// forget returns a valid file without a client's name in the lists
// client[].reach, which are tables of their own, and how many it was in.
func forget(data []byte, name string) ([]byte, int) {
	var gone []span
	inClient := false
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			inClient = false
		case unstable.ArrayTable:
			keys := keysOf(e)
			inClient = len(keys) == 1 && keys[0] == "client"
		case unstable.KeyValue:
			if v := e.Value(); inClient && slices.Equal(keysOf(e), []string{"reach"}) && v.Kind == unstable.Array {
				gone = append(gone, elements(data, v, name)...)
			}
		}
	}
	for _, s := range slices.Backward(gone) {
		data = slices.Concat(data[:s.from], data[s.to:])
	}
	return data, len(gone)
}

func keysOf(e *unstable.Node) (keys []string) {
	for it := e.Key(); it.Next(); {
		keys = append(keys, string(it.Node().Data))
	}
	return keys
}

// elements returns where a list has a string, with a comma: the one behind it, or
// the one before what is last.
func elements(data []byte, list *unstable.Node, text string) (found []span) {
	for it := list.Children(); it.Next(); {
		n := it.Node()
		if n.Kind != unstable.String || string(n.Data) != text {
			continue
		}
		s := span{int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)}
		rest := string(data[s.to:])
		if behind := strings.TrimLeft(rest, " \t"); strings.HasPrefix(behind, ",") {
			s.to += len(rest) - len(behind) + 1
			s.to += len(data[s.to:]) - len(strings.TrimLeft(string(data[s.to:]), " \t"))
		} else if before := strings.TrimRight(string(data[:s.from]), " \t"); strings.HasSuffix(before, ",") {
			s.from = len(before) - 1
		}
		found = append(found, s)
	}
	return found
}
