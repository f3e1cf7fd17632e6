package hostnet

import (
	"bytes"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
)

// Firewalls as they are found on servers, made by their own programs: whether
// the TUN's packets are dropped there is told, with what mends it, and nothing is
// said where they are not.
func TestKernelFilters(t *testing.T) {
	const nftDrop = "add table inet filter\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\n"
	const established = "add rule inet filter forward ct state established,related accept\n"
	// The ends of firewalld's chains, as version 1.3 of Debian 12 writes them.
	const firewalld = `
add table inet firewalld
add chain inet firewalld filter_FWD_trusted
add chain inet firewalld filter_FWD_public
add chain inet firewalld filter_ZONES
add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }
add rule inet firewalld filter_FWD_trusted accept
add rule inet firewalld filter_FWD_public meta l4proto icmp accept
add rule inet firewalld filter_ZONES %s
add rule inet firewalld filter_ZONES goto filter_FWD_public
add rule inet firewalld filter_FORWARD ct state { established, related } accept
add rule inet firewalld filter_FORWARD ct status dnat accept
add rule inet firewalld filter_FORWARD iifname lo accept
add rule inet firewalld filter_FORWARD jump filter_ZONES
add rule inet firewalld filter_FORWARD ct state invalid drop
add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited
`
	const docker = `iptables -P FORWARD DROP
iptables -N DOCKER
iptables -N DOCKER-USER
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT
iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
iptables -A DOCKER-USER -j RETURN
`
	const ufw = `iptables -P FORWARD DROP
iptables -N ufw-before-forward
iptables -N ufw-user-forward
iptables -A FORWARD -j ufw-before-forward
iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-forward -p icmp --icmp-type 3 -j ACCEPT
iptables -A ufw-before-forward -j ufw-user-forward
`
	for _, test := range []struct {
		name     string
		nft      string
		commands string
		chain    string // that is named; "": all is well
		mend     string // that is part of the hint
	}{
		{name: "none"},
		{name: "accepts", nft: "add table inet filter\nadd chain inet filter forward { type filter hook forward priority 0; policy accept; }"},
		{name: "another hook", nft: "add table inet filter\nadd chain inet filter input { type filter hook input priority 0; policy drop; }"},
		{name: "drops", nft: nftDrop + established, chain: "inet filter forward", mend: "nft insert rule inet filter forward iifname braid0 accept"},
		{name: "the device accepted", nft: nftDrop + established + "add rule inet filter forward iifname braid0 accept\nadd rule inet filter forward oifname braid0 accept"},
		{name: "by a pattern", nft: nftDrop + `add rule inet filter forward iifname "braid*" accept` + "\n" + `add rule inet filter forward oifname "braid*" accept`},
		{name: "by a set", nft: nftDrop + "add rule inet filter forward iifname { eth0, braid0 } oifname { eth0, braid0 } accept\n"},
		{name: "by a named set", nft: nftDrop + "add set inet filter inside { type ifname; elements = { braid0, lan }; }\n" +
			"add rule inet filter forward iifname @inside accept\nadd rule inet filter forward ct status dnat accept"},
		{name: "by a set without it", nft: nftDrop + "add rule inet filter forward iifname { eth0, lan } accept\n", chain: "inet filter forward"},
		{name: "by a map", nft: nftDrop + "add chain inet filter inside\nadd rule inet filter inside accept\n" +
			`add rule inet filter forward iifname vmap { lo : drop, "braid*" : jump inside, eth0 : drop }` + "\nadd rule inet filter forward ct status dnat accept"},
		{name: "by another's map", nft: nftDrop + "add chain inet filter inside\nadd rule inet filter inside accept\n" +
			"add rule inet filter forward iifname vmap { lo : drop, lan : jump inside }", chain: "inet filter forward"},
		{name: "by its index", nft: nftDrop + "add rule inet filter forward iif braid0 accept\nadd rule inet filter forward oif braid0 accept"},
		{name: "by its addresses", nft: nftDrop + "add rule inet filter forward ip saddr 10.77.0.0/24 accept\nadd rule inet filter forward ip daddr 10.77.0.0/24 accept"},
		{name: "by other addresses", nft: nftDrop + "add rule inet filter forward ip saddr 10.78.0.0/24 accept", chain: "inet filter forward"},
		{name: "for what leaves by the uplink", nft: nftDrop + "add rule inet filter forward oifname wan accept\nadd rule inet filter forward ct status dnat accept"},
		{name: "for what comes from elsewhere", nft: nftDrop + "add rule inet filter forward iifname lan oifname wan accept", chain: "inet filter forward"},
		{name: "for what is not from outside", nft: nftDrop + "add rule inet filter forward iifname != wan accept\nadd rule inet filter forward ct status dnat accept"},
		{name: "some of it accepted", nft: nftDrop + "add rule inet filter forward iifname braid0 tcp dport 443 accept\nadd rule inet filter forward oifname braid0 tcp dport 22 accept"},
		{name: "its answers accepted", nft: nftDrop + "add rule inet filter forward iifname braid0 ct state established accept", chain: "inet filter forward"},
		{name: "no way in", nft: nftDrop + established + "add rule inet filter forward iifname braid0 accept", chain: "inet filter forward", mend: "oifname braid0 accept"},
		{name: "what nobody here can read", nft: nftDrop + "add rule inet filter forward meta l4proto tcp ct original proto-dst 80 accept"},
		{name: "of the other family", nft: "add table ip6 f\nadd chain ip6 f f { type filter hook forward priority 0; policy drop; }", chain: "ip6 f f"},
		{name: "firewalld", nft: strings.Replace(firewalld, "%s", "iifname lan goto filter_FWD_trusted", 1), chain: "inet firewalld filter_FORWARD", mend: "firewall-cmd --permanent --zone=trusted --add-interface=braid0"},
		{name: "firewalld with a zone", nft: strings.Replace(firewalld, "%s", "iifname braid0 goto filter_FWD_trusted", 1)},
		{name: "docker", commands: docker, chain: "ip filter FORWARD", mend: "iptables -I DOCKER-USER -i braid0 -j ACCEPT"},
		{name: "docker mended", commands: docker + "iptables -I DOCKER-USER -i braid0 -j ACCEPT\niptables -I DOCKER-USER -o braid0 -j ACCEPT"},
		{name: "ufw", commands: ufw, chain: "ip filter FORWARD", mend: "ufw route allow in on braid0"},
		{name: "ufw mended", commands: ufw + "iptables -A ufw-user-forward -i braid0 -j ACCEPT\niptables -A ufw-user-forward -o braid0 -j ACCEPT"},
		{name: "iptables", commands: "ip6tables -P FORWARD DROP", chain: "ip6 filter FORWARD", mend: "ip6tables -I FORWARD -o braid0 -j ACCEPT"},
		{name: "iptables that rejects", commands: "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\niptables -A FORWARD -j REJECT", chain: "ip filter FORWARD"},
		{name: "iptables with new", commands: "iptables -P FORWARD DROP\niptables -A FORWARD -i braid0 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n" +
			"iptables -A FORWARD -o braid+ -m comment --comment mine -j ACCEPT"},
		{name: "iptables with dnat", commands: "iptables -P FORWARD DROP\niptables -A FORWARD -s 10.77.0.0/16 -j ACCEPT\niptables -A FORWARD -m conntrack --ctstate DNAT -j ACCEPT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSpace(t)
			s.tun("braid0")
			if test.nft != "" {
				c := exec.Command("nft", "-f", "-")
				c.Stdin = strings.NewReader(test.nft)
				var out []byte
				var err error
				if s.do(func() { out, err = c.CombinedOutput() }); err != nil {
					t.Fatalf("nft: %v\n%s", err, out)
				}
			}
			for line := range strings.Lines(test.commands) {
				words := strings.Fields(line)
				if _, err := exec.LookPath(words[0]); err != nil {
					t.Fatalf("Debian's package iptables is needed: %v", err)
				}
				s.run(words[0], words[1:]...)
			}
			var log bytes.Buffer
			m := testManager(t, s.host())
			m.log = slog.New(slog.NewTextHandler(&log, nil))
			d := routedDesired()
			d.Forwards = []Forward{{First: 2222, Last: 2222, To: addrPort("10.77.0.2:22")}}
			mustApply(t, m, d)
			mustApply(t, m, d) // it is said once
			var said []string
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "a firewall of this host drops") {
					said = append(said, line)
				}
			}
			switch {
			case test.chain == "" && len(said) > 0:
				t.Errorf("a false alarm: %q\n%s", said, s.run("nft", "list", "ruleset"))
			case test.chain != "" && (len(said) != 1 || !strings.Contains(said[0], `chain="`+test.chain+`"`) || !strings.Contains(said[0], test.mend)):
				t.Errorf("said %q, want one line with %s and %q", said, test.chain, test.mend)
			}
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
