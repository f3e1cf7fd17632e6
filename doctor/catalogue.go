package doctor

import "slices"

// Kind is something that can be found.
type Kind struct {
	ID       string
	Severity Severity
	Problem  string
	Mend     string // in general; a finding may know better. Empty: nothing is to be mended
}

// Catalogue lists all that Judge can find.
func Catalogue() []Kind { return slices.Clone(catalogue) }

// kindOf is of the catalogue: an unknown id is a bug, which a test finds.
func kindOf(id string) Kind {
	if i := slices.IndexFunc(catalogue, func(k Kind) bool { return k.ID == id }); i >= 0 {
		return catalogue[i]
	}
	return Kind{ID: id, Severity: Error}
}

var catalogue = []Kind{
	// Of the host.
	{"configuration", Error, "the configuration cannot be used", "mend what is named; docs/configuration.md has every key"},
	{"kernel-too-old", Error, "the kernel is older than Linux 6.1", "use a newer kernel"},
	{"kernel-old", Note, "the kernel does not offer everything", "Linux 6.6 or newer has all that braid can use"},
	{"mptcp-off", Error, "the kernel makes no MPTCP sockets", "sysctl net.mptcp.enabled=1"},
	{"mptcp-no-ipv6", Note, "the kernel has no MPTCP over IPv6", "a kernel with CONFIG_MPTCP_IPV6, and IPv6 not switched off at boot"},
	{"path-manager", Error, "the userspace path manager cannot be used", "Linux 6.1 or newer, and a writable /proc/sys/net for the daemon"},
	{"mptcp-blackhole", Error, "the kernel has switched MPTCP off for a while, for a handshake that was lost", "sysctl net.mptcp.blackhole_timeout=0"},
	{"mptcp-blackhole-armed", Warning, "one lost handshake may switch MPTCP off, though the client runs, which sets that to 0", "sysctl net.mptcp.blackhole_timeout=0; look for what sets it again"},
	{"no-bbr", Note, "the kernel has no bbr", "modprobe tcp_bbr: with cubic a path that loses packets keeps little of its rate"},
	{"no-pacing", Note, "streams do not make room for calls", "a kernel with BTF, and CAP_BPF and CAP_PERFMON for the daemon, as packaging/systemd has it"},
	{"clock-off", Warning, "the clock of this host and the server's differ", "set both by NTP (timedatectl set-ntp true): braid does not need it, but certificates, logs and the month of a cap do"},
	{"no-default-route", Error, "no interface has a default route and an address", "bring one up: ip route says what there is"},
	{"foreign-rules", Note, "routing rules of others come before braid's", "where traffic goes astray, look at them with ip rule: those of another VPN may take carriers along"},
	{"mptcp-endpoints", Note, "the kernel's path manager has endpoints, of NetworkManager or by hand", "none is needed: braid neither uses nor touches them (ip mptcp endpoint)"},
	{"kill-switch", Error, "a kill switch blocks traffic, and its client does not run", "start the client, or: braid kill-switch off"},
	{"firewall", Warning, "a firewall of this host drops what the tunnel forwards", "the command that is named"},
	{"not-running", Note, "the daemon does not run", "start it: systemctl start braid-client, or braid-server"},
	{"descriptors", Warning, "the daemon may open fewer files than its limits of streams need", "LimitNOFILE=524288 in its unit, or fewer streams in [limits]"},
	{"session-down", Error, "the client runs and has no session", "what is said of server and uplinks, or else its log"},
	{"names", Warning, "programs of this host do not ask through the tunnel for names", "make /etc/resolv.conf writable, or tunnel.dns = []"},
	{"streams-limited", Warning, "a limit refuses connections", "raise streams or new_streams_per_second in [limits], here or on the server"},

	// Of the server, as it is reached from here.
	{"server-name", Error, "the server's name cannot be found", "look at the nameservers of this host, or write the server's address into client.toml"},
	{"server-down", Error, "the server's host answers, and no braid listens there", "start braid on it, and check the port in server of client.toml"},
	{"server-unreachable", Error, "the server is not reached over any uplink", "check its address, that it is up, and that a firewall there lets TCP to this port pass"},
	{"server-address", Warning, "one of the server's addresses is not reached over any uplink", "take it out of server in client.toml or of its name's records, or let the server listen there"},
	{"server-silent", Error, "the server's kernel takes connections, and the server does not answer", "look at its log and restart it"},
	{"server-key", Error, "the server has another key than the configuration expects", "compare with braid pubkey on the server, and set server_public_key, or take a new token"},
	{"client-key", Error, "the server does not know this client's key", "add it to server.toml, or invite it anew: braid invite there, braid up TOKEN --force here"},
	{"server-protocol", Error, "the server is a braid of another protocol", "run the same version on both ends"},
	{"server-not-braid", Error, "something else than a braid server answers", "check address and port in server of client.toml, and what forwards the port there"},
	{"server-mptcp", Error, "over no uplink the server's answer has MPTCP", "it is lost near the server: net.mptcp.enabled=1 there, and no proxy or port forward of another program in front of it"},
	{"server-version", Note, "client and server are of different versions", "update the older one when there is time"},
	{"server-limit", Warning, "this client has nearly as many streams open as the server allows", "raise streams_per_client in [limits] of server.toml"},

	// Of an uplink.
	{"uplink-missing", Error, "the uplink cannot be used", "bring it up with an address and a default route: ip route"},
	{"uplink-absent", Note, "no interface matches an [[uplink]] of the configuration", "plug it in, or take it out of client.toml"},
	{"uplink-unreachable", Error, "the server is not reached over this uplink, and is over others", "see whether it reaches anything (a modem without a contract, a portal that wants a login), and what its network lets pass"},
	{"uplink-family", Warning, "the server is not reached over this uplink in one of the two families", "mend IPv6 or IPv4 of this uplink's router; the other family carries meanwhile"},
	{"uplink-no-family", Warning, "no address of the server is of a family that this uplink has", "give the server an address of the other family too, in server of client.toml"},
	{"uplink-reverse-path", Warning, "the reverse-path filter of this uplink is strict: it drops answers whose way back leads elsewhere", "sysctl net.ipv4.conf.INTERFACE.rp_filter=2; braid sets that while it runs"},
	{"uplink-mptcp-syn", Error, "MPTCP is stripped from the first packet (the SYN)", "something on this uplink's way removes the option: another access point (APN), another port in listen, or the provider. Until then this uplink carries when no other does"},
	{"uplink-mptcp-data", Error, "MPTCP is lost behind the first packet", "something on this uplink's way removes the options of data packets: an accelerating proxy or a firewall. Another port in listen, another access point (APN), or the provider"},
	{"uplink-mptcp-dropped", Error, "packets with MPTCP's options are dropped", "a firewall on this uplink's way drops what it does not know: another port in listen, or the provider"},
	{"uplink-mtu", Error, "large packets vanish, and nobody says so", "lower the interface's MTU: ip link set INTERFACE mtu BYTES, and in the configuration of the network; or sysctl net.ipv4.tcp_mtu_probing=1 at both ends"},
	{"uplink-silent", Error, "connections over this uplink open, and nothing comes through them", "a firewall or a proxy on its way: another port in listen, or the provider"},
	{"uplink-intercepted", Error, "over this uplink something else than the server answers", "a portal that wants a login, or a proxy: open a web page over it, or use another network"},
	{"uplink-loss", Warning, "packets are lost", "on Wi-Fi and LTE a better place for the antenna, on a cable another cable; [[uplink]] role = \"backup\" if it stays"},
	{"uplink-bufferbloat", Warning, "the queue of this uplink is deep: a transfer makes everything else late", "CAKE or fq_codel in its router a little below its rate; braid itself makes room while somebody calls"},
	{"uplink-same-router", Warning, "two uplinks lead to one router, and share its line", "they add nothing to each other: use one of them, or give one the role backup"},
	{"uplink-same-network", Note, "two uplinks have one network", "braid tells them apart; if other programs do not, give one of the routers another network"},
	{"uplink-same-address", Error, "two uplinks have one address, and this kernel cannot tell them apart", "give one of the routers another network, or use Linux 6.6 or newer"},
	{"uplink-dead", Warning, "the client takes this uplink for dead, though the server answers over it", "if it stays so, look at the client's log"},
	{"uplink-flaps", Warning, "this uplink dies again and again", "a cable, a radio cell, or a modem that restarts; [[uplink]] role = \"backup\" if it stays"},
	{"uplink-quarantined", Note, "the uplink stands by, because no transfer would be faster with it", ""},
	{"uplink-cap", Note, "the uplink's monthly cap is used up", "it serves as a backup until the month ends"},
	{"uplink-no-subflow", Warning, "the uplink is in use and has no subflow", "a join does not get through: what is said of MPTCP here, or else the client's log"},
	{"uplink-udp", Warning, "nameservers do not answer over UDP by this uplink, and do over TCP", "let UDP port 53 pass there: without it the server's name is found by the other uplinks only"},
	{"uplink-names", Warning, "nameservers do not answer by this uplink", "name others: without one the server's name is found by the other uplinks only"},

	// Of a server on this host.
	{"port-taken", Error, "another program listens where the server should", "stop it, or choose another port in listen"},
	{"not-listening", Error, "the server runs and does not listen where the configuration says", "restart it: listen is read at start"},
	{"forwarding-off", Error, "this host does not forward", "restart the server, or set what is named to 1; look for what sets it back"},
	{"table-missing", Error, "the tunnel's table is missing in nftables", "something has flushed the firewall: braid makes it again within a minute, or at a restart"},
	{"subflow-limit", Error, "the kernel allows fewer subflows than clients may have uplinks", "ip mptcp limits set subflow 8; something has set it back since the server started"},
	{"join-refused", Error, "the kernel refuses further subflows", "sysctl net.mptcp.allow_join_initial_addr_port=1"},
	{"plain-clients", Note, "clients are connected by plain TCP", "braid doctor on their hosts says why"},
}
