package config

// The two schemas are the one place that knows which keys exist, their types
// and their defaults. docs/configuration.md says the same in words, and a test
// compares the two.

var serverSchema = schema{
	{key: "listen", typ: typeStrings, def: `[":443"]`},
	{key: "address", typ: typeStrings, def: `[]`, example: `["vpn.example.net"]`},
	{key: "private_key_file", typ: typeString, required: true, example: `"server.key"`, how: "a file made with: braid keygen FILE"},
	{key: "control", typ: typeString, def: `"/run/braid/server.sock"`},
	{key: "control_group", typ: typeString, example: `"netadmin"`}, // default: nobody but the daemon's user
	{key: "control_readers", typ: typeString, example: `"monitoring"`},

	{key: "tunnel", typ: typeTable},
	{key: "tunnel.name", typ: typeString, def: `"braid0"`},
	{key: "tunnel.addresses", typ: typeStrings, def: `["10.77.0.1/24", "fd77:b4a1::1/64"]`},
	{key: "tunnel.mtu", typ: typeInteger, def: `1500`},
	{key: "tunnel.nat", typ: typeBool, def: `true`},
	{key: "tunnel.tcp", typ: typeString, def: `"streams"`},
	{key: "tunnel.packets", typ: typeStrings, def: `[]`, example: `["192.168.10.0/24"]`},
	{key: "tunnel.congestion", typ: typeString, def: `"bbr"`}, // DefaultCongestion
	{key: "tunnel.copies", typ: typeInteger, def: `5`},
	{key: "tunnel.dns", typ: typeStrings, def: `[]`, example: `["9.9.9.9"]`},

	{key: "egress", typ: typeTable},
	{key: "egress.source", typ: typeString, def: `"server"`},
	{key: "egress.allow", typ: typeStrings, def: `[]`, example: `["10.77.0.0/24:22"]`},
	{key: "egress.deny", typ: typeStrings, def: `[]`, example: `["192.168.10.0/24", ":25"]`},

	{key: "limits", typ: typeTable},
	{key: "limits.streams_per_client", typ: typeInteger, def: `4096`},
	{key: "limits.streams", typ: typeInteger, def: `16384`},
	{key: "limits.new_streams_per_second", typ: typeInteger, def: `500`},
	{key: "limits.memory", typ: typeString, def: `"1GiB"`},
	{key: "limits.resume", typ: typeString, def: `"10m"`},
	{key: "limits.speedtest", typ: typeBool, def: `true`},

	{key: "metrics", typ: typeTable},
	{key: "metrics.listen", typ: typeString, example: `"127.0.0.1:9477"`}, // default: nowhere
	{key: "dashboard", typ: typeTable},
	{key: "dashboard.listen", typ: typeString, example: `"127.0.0.1:8477"`},      // default: nowhere
	{key: "dashboard.token_file", typ: typeString, example: `"dashboard.token"`}, // default: none

	{key: "rule", typ: typeTables},
	{key: "rule[].match", typ: typeString, required: true, example: `"udp dport 5060"`},
	{key: "rule[].policy", typ: typeString, required: true, example: `"redundant"`},

	{key: "client", typ: typeTables},
	{key: "client[].name", typ: typeString, required: true, example: `"home"`},
	{key: "client[].public_key", typ: typeString, required: true, example: `"…"`, how: "as printed on the client by: braid pubkey FILE"},
	{key: "client[].addresses", typ: typeStrings, example: `["10.77.0.2"]`}, // default: taken from tunnel.addresses
	{key: "client[].routes", typ: typeStrings, def: `[]`, example: `["192.168.10.0/24"]`},
	{key: "client[].reach", typ: typeStrings, def: `[]`, example: `["home"]`},
	{key: "client[].forward", typ: typeTables},
	{key: "client[].forward[].listen", typ: typeString, required: true, example: `":2222"`},
	{key: "client[].forward[].protocol", typ: typeString, def: `"tcp"`},
	{key: "client[].forward[].to", typ: typeString, example: `"10.77.0.2:22"`}, // default: the client, the same port
	{key: "client[].forward[].source", typ: typeString, def: `"transparent"`},
}

var clientSchema = schema{
	{key: "server", typ: typeStrings, required: true, example: `["vpn.example.net:443"]`},
	{key: "server_public_key", typ: typeString, required: true, example: `"…"`, how: "as printed on the server by: braid pubkey FILE"},
	{key: "private_key_file", typ: typeString, required: true, example: `"client.key"`, how: "a file made with: braid keygen FILE"},
	{key: "control", typ: typeString, def: `"/run/braid/client.sock"`},
	{key: "control_group", typ: typeString, example: `"netadmin"`}, // default: nobody but the daemon's user
	{key: "control_readers", typ: typeString, example: `"monitoring"`},
	{key: "state", typ: typeString, def: `"/var/lib/braid"`},

	{key: "tunnel", typ: typeTable},
	{key: "tunnel.name", typ: typeString, def: `"braid0"`},
	{key: "tunnel.routes", typ: typeStrings, def: `["0.0.0.0/0", "::/0"]`},
	{key: "tunnel.exclude", typ: typeStrings, def: `[]`, example: `["192.168.0.0/16"]`},
	{key: "tunnel.exclude_interfaces", typ: typeStrings, def: `[]`, example: `["docker*", "tailscale0"]`},
	{key: "tunnel.kill_switch", typ: typeBool, def: `false`},
	{key: "tunnel.forwarding", typ: typeBool, def: `false`},
	{key: "tunnel.masquerade", typ: typeString, def: `"auto"`},
	{key: "tunnel.tcp", typ: typeString, def: `"streams"`},
	{key: "tunnel.packets", typ: typeStrings, def: `[]`, example: `["192.168.10.0/24"]`},
	{key: "tunnel.congestion", typ: typeString, def: `"bbr"`}, // DefaultCongestion
	{key: "tunnel.copies", typ: typeInteger, def: `5`},
	{key: "tunnel.dns", typ: typeStrings, example: `["9.9.9.9"]`}, // default: the server's

	{key: "limits", typ: typeTable},
	{key: "limits.streams", typ: typeInteger, def: `4096`},
	{key: "limits.new_streams_per_second", typ: typeInteger, def: `500`},
	{key: "limits.memory", typ: typeString, def: `"256MiB"`},
	{key: "limits.resume", typ: typeString, def: `"10m"`},

	{key: "metrics", typ: typeTable},
	{key: "metrics.listen", typ: typeString, example: `"127.0.0.1:9477"`}, // default: nowhere
	{key: "dashboard", typ: typeTable},
	{key: "dashboard.listen", typ: typeString, example: `"127.0.0.1:8477"`},      // default: nowhere
	{key: "dashboard.token_file", typ: typeString, example: `"dashboard.token"`}, // default: none

	{key: "rule", typ: typeTables},
	{key: "rule[].match", typ: typeString, required: true, example: `"udp dport 5060"`},
	{key: "rule[].policy", typ: typeString, required: true, example: `"redundant"`},

	{key: "uplink", typ: typeTables},
	{key: "uplink[].interface", typ: typeString, required: true, example: `"ppp*"`},
	{key: "uplink[].role", typ: typeString, def: `"bond"`},
	{key: "uplink[].cap", typ: typeString, example: `"50GB/month"`},
	{key: "uplink[].metered", typ: typeBool, example: `true`}, // default: whether there is a cap
}
