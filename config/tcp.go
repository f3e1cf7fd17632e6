package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// TCPMode says how TCP connections travel.
type TCPMode string

const (
	TCPStreams TCPMode = "streams" // each on a connection of its own
	TCPPackets TCPMode = "packets" // as packets like all else
)

// tcpMode reads tunnel.tcp.
func tcpMode(tunnel *node, errs *Errors) TCPMode {
	return one(tunnel.get("tcp"), errs, choice(TCPStreams, TCPPackets))
}

// tcpPackets reads tunnel.packets.
func tcpPackets(tunnel *node, errs *Errors) []netip.Prefix {
	return bare(unique(each(tunnel.get("packets"), errs, parseRoute), errs, removeOne))
}

// DefaultCongestion is for carriers of streams when the configuration names no
// congestion control. Where the kernel lacks it, the kernel's own is as good.
const DefaultCongestion = "bbr"

// congestion reads tunnel.congestion, which is "" when it is not in the file:
// a name that somebody wrote is meant.
func congestion(tunnel *node, errs *Errors) string {
	n := tunnel.get("congestion")
	if n == nil || n.line == 0 {
		return ""
	}
	return one(n, errs, parseCongestion)
}

// congestionNameLimit is the kernel's TCP_CA_NAME_MAX less its zero (net/tcp.h).
const congestionNameLimit = 15

// parseCongestion reads the name of a congestion control. Which of them there
// are is the kernel's to say.
func parseCongestion(text string) (string, *fault) {
	const example = `such as "bbr" or "cubic"`
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' }
	switch {
	case text == "":
		return "", &fault{"must not be empty", "leave it out for the default"}
	case len(text) > congestionNameLimit:
		return "", &fault{fmt.Sprintf("must have at most %d bytes, not %d", congestionNameLimit, len(text)), example}
	case strings.TrimFunc(text, letter) == "":
		return text, nil
	}
	mend := example
	if lower := strings.ToLower(text); strings.TrimFunc(lower, letter) == "" {
		mend = write(lower)
	}
	return "", &fault{"must have lower-case letters, digits, _ and - only", mend}
}
