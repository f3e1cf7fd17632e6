package config

import (
	"fmt"
	"strings"

	"braid/crypto"
)

// Invite is all that a client needs to begin: where its server is, both keys,
// and what the server wants of it. Its text is a token (token.go). Whoever has
// it is that client.
type Invite struct {
	Name      string     // the client's, as the server knows it
	Servers   []HostPort // in order of preference, 1 to 16
	ServerKey crypto.PublicKey
	Key       crypto.PrivateKey // the client's own
	TCP       TCPMode           // "" is TCPStreams
}

// Wishes are what the owner of a client may want of it from its first start.
type Wishes struct {
	KillSwitch bool // tunnel.kill_switch
	Forwarding bool // tunnel.forwarding
}

// File returns the client.toml that the invite is about, for a key file of that
// name. What it says is what ParseClient reads.
func (i Invite) File(keyFile string, w Wishes) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# /etc/braid/client.toml: the braid client %s, made from an invite.\n", quoted(i.Name))
	b.WriteString("# Uplinks are found by themselves. All keys: docs/configuration.md.\n\n")
	var servers []string
	for _, s := range i.Servers {
		servers = append(servers, quoted(s.String()))
	}
	fmt.Fprintf(&b, "server = [%s]\n", strings.Join(servers, ", "))
	fmt.Fprintf(&b, "server_public_key = %s\n", quoted(i.ServerKey.String()))
	fmt.Fprintf(&b, "private_key_file = %s\n", quoted(keyFile))
	var tunnel string
	if i.tcp() != TCPStreams {
		tunnel += fmt.Sprintf("tcp = %s\n", quoted(string(i.TCP)))
	}
	if w.KillSwitch {
		tunnel += "kill_switch = true    # nothing leaves beside the tunnel\n"
	}
	if w.Forwarding {
		tunnel += "forwarding = true    # this host is a router\n"
	}
	if tunnel != "" {
		b.WriteString("\n[tunnel]\n" + tunnel)
	}
	return []byte(b.String())
}

func (i Invite) tcp() TCPMode {
	if i.TCP == "" {
		return TCPStreams
	}
	return i.TCP
}

// quoted is text as a TOML string. It must not have control characters.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
