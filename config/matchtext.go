package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The grammar of a match. Letters may be large or small, and blanks may stand
// beside a comma.
//
//	match     = "all" | condition { [ "and" ] condition }
//	condition = "tcp" | "udp" | "icmp" | "proto" number { "," number }
//	          | ( "sport" | "dport" ) ports { "," ports }
//	          | ( "src" | "dst" ) network { "," network }
//	          | "dscp" class { "," class }
//	ports     = port [ "-" port ]
//	network   = address [ "/" length ]
//	class     = name | number

// matchValues are the conditions with values, and an example of those.
var matchValues = []struct{ word, example string }{
	{"proto", "47"},
	{"sport", "5060"},
	{"dport", "5060,10000-20000"},
	{"src", "192.168.1.0/24"},
	{"dst", "192.0.2.7"},
	{"dscp", "ef"},
}

// matchReader reads a match. It notes all faults that it finds.
type matchReader struct {
	match  Match
	seen   []string // conditions so far
	faults []fault
}

func (r *matchReader) note(problem, mend string) { r.faults = append(r.faults, fault{problem, mend}) }

// parseMatch reads a match, or returns all that is wrong with it.
func parseMatch(text string) (Match, []fault) {
	words := matchWords(text)
	r := &matchReader{}
	if len(words) == 0 {
		return Match{}, []fault{{"must not be empty", `write "all" for a rule about all packets`}}
	}
	joined := true // nothing stands before, or "and"
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "and" {
			if joined || len(words) == 0 {
				r.note(`"and" must stand between two conditions`, "leave it out")
			}
			joined = true
			continue
		}
		joined = false
		if !takesValues(word) {
			r.word(word)
			// What follows "port" is no fault of its own.
			if (word == "port" || word == "ports") && len(words) > 0 && words[0] != "and" && !isCondition(words[0]) {
				words = words[1:]
			}
			continue
		}
		r.once(word)
		// "proto tcp" is better told to be "tcp".
		if len(words) == 0 || words[0] == "and" || isCondition(words[0]) && (word != "proto" || protocolsOf(words[0]) == nil) {
			r.note(shown(word)+" must have a value behind it", example(word))
			continue
		}
		r.values(word, strings.Split(words[0], ","))
		words = words[1:]
	}
	r.together()
	if len(r.faults) > 0 {
		return Match{}, r.faults
	}
	r.match.tidy()
	return r.match, nil
}

// matchWords divides a match into words. A list with its commas is one.
func matchWords(text string) []string {
	var words []string
	for _, w := range strings.Fields(strings.ToLower(text)) {
		if n := len(words); n > 0 && (strings.HasPrefix(w, ",") || strings.HasSuffix(words[n-1], ",")) {
			words[n-1] += w
		} else {
			words = append(words, w)
		}
	}
	return words
}

func takesValues(word string) bool { return example(word) != "" }

// example is the mend for a condition whose value is missing or wrong.
func example(word string) string {
	for _, v := range matchValues {
		if v.word == word {
			return fmt.Sprintf("such as %q", word+" "+v.example)
		}
	}
	return ""
}

func isCondition(word string) bool {
	return word == "all" || takesValues(word) || protocolsOf(word) != nil
}

// protocolsOf returns the numbers of a word for protocols, or nil.
func protocolsOf(word string) []uint8 {
	for _, p := range protocolWords {
		if p.word == word {
			return p.numbers
		}
	}
	return nil
}

// shown is a word of the user's for a message.
func shown(word string) string { return (&node{kind: kindString, str: word}).text() }

// once notes a condition that is there twice. Protocols are one condition
// however they are written.
func (r *matchReader) once(word string) {
	if protocolsOf(word) != nil {
		word = "proto"
	}
	if slices.Contains(r.seen, word) {
		if word == "proto" {
			r.note("must have one condition on protocols, for no packet has two", `write a list, such as "proto 6,17"`)
		} else {
			r.note("must have one condition "+shown(word)+" only", "put its values in a list, with commas")
		}
	}
	r.seen = append(r.seen, word)
}

// word reads a word that has no values.
func (r *matchReader) word(word string) {
	if word == "all" {
		r.once(word)
		return
	}
	if p := protocolsOf(word); p != nil {
		r.once(word)
		r.match.Protocols = append(r.match.Protocols, p...)
		return
	}
	first, _, _ := strings.Cut(word, ",")
	if _, _, problem, _ := parsePorts(first); problem == "" {
		r.note(shown(word)+" must have sport or dport before it", write("dport "+first))
		return
	}
	if p, problem, _ := parseRuleNetwork(first); problem == "" {
		r.note(shown(word)+" must have src or dst before it", write("dst "+networkText(p)))
		return
	}
	words := []string{"all", "and"}
	for _, p := range protocolWords {
		words = append(words, p.word)
	}
	for _, v := range matchValues {
		words = append(words, v.word)
	}
	mend := "known are " + strings.Join(words, ", ")
	if word == "port" || word == "ports" {
		mend = "write sport or dport"
	} else if near := nearest(word, words); near != "" {
		mend = "did you mean " + near + "?"
	}
	r.note(shown(word)+" is no condition", mend)
}

// values reads the values of a condition.
func (r *matchReader) values(word string, values []string) {
	m := &r.match
	for _, v := range values {
		switch word {
		case "proto":
			m.Protocols = append(m.Protocols, r.number(word, v, 255)...)
		case "dscp":
			m.DSCP = append(m.DSCP, r.class(v)...)
		case "sport":
			m.SrcPorts = append(m.SrcPorts, r.ports(word, v)...)
		case "dport":
			m.DstPorts = append(m.DstPorts, r.ports(word, v)...)
		case "src":
			m.Src = append(m.Src, r.network(word, v)...)
		case "dst":
			m.Dst = append(m.Dst, r.network(word, v)...)
		}
	}
}

// number reads a number; none when it is faulty.
func (r *matchReader) number(word, text string, highest uint64) []uint8 {
	n, err := strconv.ParseUint(text, 10, 8)
	switch {
	case err == nil && n <= highest:
		return []uint8{uint8(n)}
	case word == "proto" && protocolsOf(text) != nil:
		r.note("proto "+shown(text)+": must be a number of 0 to 255", write(text))
	default:
		r.note(fmt.Sprintf("%s %s: must be a number of 0 to %d", word, shown(text), highest), example(word))
	}
	return nil
}

// class reads a DSCP by its name or number.
func (r *matchReader) class(text string) []uint8 {
	var names []string
	for _, d := range dscpNames {
		if d.name == text {
			return []uint8{d.number}
		}
		names = append(names, d.name)
	}
	const highest = 63 // six bits
	if n, err := strconv.ParseUint(text, 10, 8); err == nil && n <= highest {
		return []uint8{uint8(n)}
	}
	mend := `such as "dscp ef", "dscp af41" or "dscp 46"`
	if near := nearest(text, names); near != "" {
		mend = "did you mean " + near + "?"
	}
	r.note(fmt.Sprintf("dscp %s: must be a name or a number of 0 to %d", shown(text), highest), mend)
	return nil
}

// ports reads a port or a range.
func (r *matchReader) ports(word, text string) []PortRange {
	first, last, problem, known := parsePorts(text)
	if first == 0 && last == 0 {
		first, last = 1, 65535
	}
	p := PortRange{first, last}
	switch {
	case problem == "":
		return []PortRange{p}
	case text == "":
		r.note(word+` "": must have a port on both sides of a comma`, example(word))
	case known:
		r.note(word+" "+shown(text)+": "+problem, write(word+" "+p.String()))
	default:
		r.note(word+" "+shown(text)+": "+problem, example(word))
	}
	return nil
}

// network reads a network or an address.
func (r *matchReader) network(word, text string) []netip.Prefix {
	address, _, _ := strings.Cut(text, "/")
	if _, err := netip.ParseAddr(address); err != nil {
		r.note(word+" "+shown(text)+": must be a network or an address; names are not looked up", example(word))
		return nil
	}
	p, problem, known := parseRuleNetwork(text)
	switch {
	case problem == "":
		return []netip.Prefix{p}
	case known:
		r.note(word+" "+shown(text)+": "+problem, write(word+" "+networkText(p)))
	default:
		r.note(word+" "+shown(text)+": "+problem, example(word))
	}
	return nil
}

// together notes conditions that no packet can meet.
func (r *matchReader) together() {
	if slices.Contains(r.seen, "all") && len(r.seen) > 1 {
		r.note(`"all" must stand alone, for it is about all packets`, "leave it out")
	}
	hasPort := slices.Contains(r.seen, "sport") || slices.Contains(r.seen, "dport")
	for _, p := range r.match.Protocols {
		if hasPort && !slices.Contains(havePorts, p) {
			r.note("must not have ports beside a protocol that has none", `such as "udp dport 5060"`)
			break
		}
	}
	families := func(list []netip.Prefix) (v4, v6 bool) {
		for _, p := range list {
			v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
		}
		return v4, v6
	}
	src4, src6 := families(r.match.Src)
	dst4, dst6 := families(r.match.Dst)
	if len(r.match.Src) > 0 && len(r.match.Dst) > 0 && !(src4 && dst4) && !(src6 && dst6) {
		r.note("must have src and dst of one family, for no packet has both", "put networks of both in the lists, or make two rules")
	}
}
