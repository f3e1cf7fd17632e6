package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is the server's port when none is given: HTTPS, which the fewest
// networks block.
const DefaultPort = 443

// HostPort is where a client finds a server.
type HostPort struct {
	Host string // a name, or an address without brackets
	Port uint16 // 1 to 65535
}

// String is "host:port", with brackets around IPv6.
func (h HostPort) String() string { return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port))) }

// Addr returns the host's address; ok is false when it is a name.
func (h HostPort) Addr() (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(h.Host)
	return addr, err == nil
}

// parsePort reads 1 to 65535.
func parsePort(text string) (uint16, *fault) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, &fault{fmt.Sprintf("port %q must be 1 to 65535", shortened(text)), "the usual port is 443"}
	}
	return uint16(port), nil
}

// splitPort divides an address and its port. Brackets belong around IPv6; an
// IPv6 address that stands alone needs none. port is "" when there is none.
func splitPort(text string) (host, port string, wrong *fault) {
	if inside, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok := strings.Cut(inside, "]")
		if a, err := netip.ParseAddr(host); ok && err == nil && a.Is4() {
			return "", "", &fault{"must have no brackets around an IPv4 address", write(host + rest)}
		}
		if !ok || rest != "" && rest[0] != ':' || !strings.Contains(host, ":") {
			return "", "", &fault{"must have brackets around an IPv6 address only", `such as "[2001:db8::1]:443"`}
		}
		if rest == ":" {
			return "", "", &fault{"must have a port after the colon", write("[" + host + "]:443")}
		}
		return host, strings.TrimPrefix(rest, ":"), nil
	}
	if strings.Count(text, ":") > 1 {
		return text, "", nil
	}
	host, port, colon := strings.Cut(text, ":")
	if colon && port == "" {
		return "", "", &fault{"must have a port after the colon", write(text + "443")}
	}
	return host, port, nil
}

// parseListen reads where a server listens: ":443" is every address, IPv4 and
// IPv6. Names are refused: one name can be many addresses, and the resolver
// may not be up when the server starts.
func parseListen(text string) (netip.AddrPort, *fault) {
	host, portText, wrong := splitPort(text)
	if wrong != nil {
		return netip.AddrPort{}, wrong
	}
	if portText == "" {
		mend := `such as ":443"`
		if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
			mend = write(netip.AddrPortFrom(a.Unmap(), DefaultPort))
		} else if _, wrong := parsePort(host); wrong == nil {
			mend = write(":" + host)
		}
		return netip.AddrPort{}, &fault{"must have a port", mend}
	}
	port, wrong := parsePort(portText)
	if wrong != nil {
		return netip.AddrPort{}, wrong
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port), nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, &fault{"must be an address of this host and a port, or only a port", write(":" + portText)}
	}
	if what := specialAddr(a); what != "" && !a.Unmap().IsUnspecified() && !a.Unmap().IsLoopback() {
		return netip.AddrPort{}, &fault{"is " + what + " address, where no server can be reached", write(":" + portText)}
	}
	if wrong := plainAddr(a); wrong != nil {
		wrong.mend = write(netip.AddrPortFrom(a.WithZone("").Unmap(), port))
		return netip.AddrPort{}, wrong
	}
	return netip.AddrPortFrom(a, port), nil
}

// listenConflicts notes addresses that cannot be listened on together.
func listenConflicts(list []at[netip.AddrPort], errs *Errors) []at[netip.AddrPort] {
	list = unique(list, errs, removeOne)
	for i, v := range list {
		for _, w := range list[:i] {
			a, b := v.value, w.value
			if a.Port() == b.Port() && (takesAll(a.Addr(), b.Addr()) || takesAll(b.Addr(), a.Addr())) {
				errs.add(v.node, "overlaps "+w.node.place(), removeOne)
				break
			}
		}
	}
	return list
}

// apart notes that own, which n gives, would listen where others do.
func apart(n *node, own netip.AddrPort, taken []at[netip.AddrPort], errs *Errors) {
	for _, o := range taken {
		if own.IsValid() && o.value.Port() == own.Port() && (o.value == own || takesAll(o.value.Addr(), own.Addr()) || takesAll(own.Addr(), o.value.Addr())) {
			errs.add(n, "overlaps "+o.node.place(), "choose another port")
			return
		}
	}
}

// takesAll reports whether who listens on a takes the connections of b too.
func takesAll(a, b netip.Addr) bool {
	return a == netip.IPv6Unspecified() || a == netip.IPv4Unspecified() && b.Is4()
}

// parseServer reads "host:port", "host", "[v6]:port" or a lone IPv6 address.
func parseServer(text string) (HostPort, *fault) {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		mend := "leave out what stands before the host"
		if h, wrong := parseServer(host); wrong == nil {
			mend = write(h)
		}
		return HostPort{}, &fault{"must be a host and a port, not a URL", mend}
	}
	host, portText, wrong := splitPort(text)
	if wrong != nil {
		return HostPort{}, wrong
	}
	port := uint16(DefaultPort)
	if portText != "" {
		if port, wrong = parsePort(portText); wrong != nil {
			return HostPort{}, wrong
		}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		if wrong := hostName(host); wrong != nil {
			return HostPort{}, wrong
		}
		return HostPort{strings.ToLower(host), port}, nil
	}
	if what := specialAddr(a); what != "" && !a.Unmap().IsLoopback() {
		return HostPort{}, &fault{"is " + what + " address, where no server can be reached", "give the server's public name or address"}
	}
	if wrong := plainAddr(a); wrong != nil {
		wrong.mend = write(HostPort{a.WithZone("").Unmap().String(), port})
		return HostPort{}, wrong
	}
	return HostPort{a.String(), port}, nil
}

// invited reads where clients find a server that listens so. Without a port it
// is the first of these.
func invited(list *node, listen []netip.AddrPort, errs *Errors) []HostPort {
	port := uint16(DefaultPort)
	if len(listen) > 0 {
		port = listen[0].Port()
	}
	found := bare(unique(each(list, errs, func(text string) (HostPort, *fault) {
		h, wrong := parseServer(text)
		if _, given, _ := splitPort(text); wrong == nil && given == "" {
			h.Port = port
		}
		return h, wrong
	}), errs, removeOne))
	if len(found) > tokenServers {
		errs.add(list, fmt.Sprintf("must hold at most %d addresses", tokenServers), "remove some")
	}
	return found
}

// hostName refuses what is no name of the DNS (RFC 1123; the underscore is
// common).
func hostName(name string) *fault {
	const example = `such as "vpn.example.net:443" or "[2001:db8::1]:443"`
	letter := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	for _, r := range name {
		if r > 127 {
			return &fault{"must be a host name in ASCII", "write it in its xn-- form"}
		}
	}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.TrimFunc(label, letter) != "" ||
			label[0] == '-' || label[len(label)-1] == '-' || strings.IndexFunc(label, func(r rune) bool { return !letter(r) }) >= 0 {
			return &fault{"must be a host name or an address, with or without a port", example}
		}
	}
	if len(name) > 253 {
		return &fault{"must be a host name of at most 253 characters", example}
	}
	// No top-level domain is a number (RFC 3696): it is a mistyped address.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return &fault{"must be a host name or an address; a name does not end in a number", example}
	}
	return nil
}
