package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Match says which packets a rule is about: those that meet every condition
// that is there. Lists are sorted, and nothing in them is said twice, so that
// two that mean the same are equal.
type Match struct {
	Protocols          []uint8     // what follows the IP headers
	SrcPorts, DstPorts []PortRange // of protocols that have ports
	Src, Dst           []netip.Prefix
	DSCP               []uint8 // RFC 2474, 0 to 63
}

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Numbers of protocols, from IANA's registry.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// protocolWords are the conditions that are one word.
var protocolWords = []struct {
	word    string
	numbers []uint8
}{
	{"tcp", []uint8{protoTCP}},
	{"udp", []uint8{protoUDP}},
	{"icmp", []uint8{protoICMP, protoICMPv6}},
}

// havePorts are the protocols that have them: TCP, UDP, DCCP, SCTP, UDP-Lite.
var havePorts = []uint8{protoTCP, protoUDP, 33, 132, 136}

// dscpNames are from IANA's registry of differentiated services field
// codepoints, with the default as well.
var dscpNames = []struct {
	name   string
	number uint8
}{
	{"be", 0}, {"le", 1},
	{"cs0", 0}, {"cs1", 8}, {"cs2", 16}, {"cs3", 24}, {"cs4", 32}, {"cs5", 40}, {"cs6", 48}, {"cs7", 56},
	{"af11", 10}, {"af12", 12}, {"af13", 14}, {"af21", 18}, {"af22", 20}, {"af23", 22},
	{"af31", 26}, {"af32", 28}, {"af33", 30}, {"af41", 34}, {"af42", 36}, {"af43", 38},
	{"va", 44}, {"ef", 46},
}

// String is the match as it is written in the file, in one of the ways that
// mean it.
func (m Match) String() string {
	var words []string
	condition := func(name string, values []string) {
		if len(values) > 0 {
			words = append(words, name, strings.Join(values, ","))
		}
	}
	if word := protocolWord(m.Protocols); word != "" {
		words = append(words, word)
	} else {
		condition("proto", texts(m.Protocols, decimal))
	}
	condition("src", texts(m.Src, networkText))
	condition("sport", texts(m.SrcPorts, PortRange.String))
	condition("dst", texts(m.Dst, networkText))
	condition("dport", texts(m.DstPorts, PortRange.String))
	condition("dscp", texts(m.DSCP, dscpText))
	if len(words) == 0 {
		return "all"
	}
	return strings.Join(words, " ")
}

// String is the range as it is written in the file.
func (r PortRange) String() string {
	text := strconv.Itoa(int(r.First))
	if r.Last != r.First {
		text += "-" + strconv.Itoa(int(r.Last))
	}
	return text
}

func texts[T any](list []T, text func(T) string) []string {
	var all []string
	for _, v := range list {
		all = append(all, text(v))
	}
	return all
}

func decimal(n uint8) string { return strconv.Itoa(int(n)) }

func networkText(p netip.Prefix) string { return EgressRule{Network: p}.String() }

func dscpText(n uint8) string {
	for _, d := range dscpNames {
		if d.number == n {
			return d.name
		}
	}
	return decimal(n)
}

// protocolWord is the word for protocols, or "".
func protocolWord(numbers []uint8) string {
	for _, p := range protocolWords {
		if slices.Equal(p.numbers, numbers) {
			return p.word
		}
	}
	return ""
}

// tidy sorts the lists, and takes out what is in them already.
func (m *Match) tidy() {
	for _, list := range []*[]uint8{&m.Protocols, &m.DSCP} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, list := range []*[]PortRange{&m.SrcPorts, &m.DstPorts} {
		slices.SortFunc(*list, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
		var merged []PortRange
		for _, r := range *list {
			if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
				merged[n-1].Last = max(merged[n-1].Last, r.Last)
			} else {
				merged = append(merged, r)
			}
		}
		*list = merged
	}
	for _, list := range []*[]netip.Prefix{&m.Src, &m.Dst} {
		slices.SortFunc(*list, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		var kept []netip.Prefix
		for _, p := range *list {
			// One that holds it stands before it.
			if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return holds(k, p) }) {
				kept = append(kept, p)
			}
		}
		*list = kept
	}
}

// holds says whether all of p is in k.
func holds(k, p netip.Prefix) bool { return k.Bits() <= p.Bits() && k.Contains(p.Addr()) }

// covers says whether every packet that meets other meets m. It finds what one
// condition beside another says, not what several say together.
func (m Match) covers(other Match) bool {
	same := func(a, b uint8) bool { return a == b }
	ports := func(a, b PortRange) bool { return a.First <= b.First && b.Last <= a.Last }
	return allIn(m.Protocols, other.Protocols, same) && allIn(m.DSCP, other.DSCP, same) &&
		allIn(m.SrcPorts, other.SrcPorts, ports) && allIn(m.DstPorts, other.DstPorts, ports) &&
		allIn(m.Src, other.Src, holds) && allIn(m.Dst, other.Dst, holds)
}

// allIn says whether each of inner is in one of outer. An empty list is all
// that there is.
func allIn[T any](outer, inner []T, in func(outer, inner T) bool) bool {
	if len(outer) == 0 {
		return true
	}
	for _, i := range inner {
		if !slices.ContainsFunc(outer, func(o T) bool { return in(o, i) }) {
			return false
		}
	}
	return len(inner) > 0
}
