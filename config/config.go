// Package config reads braid's two configuration files.
//
// A file is read in stages, and every stage notes all the faults it finds, so
// that the user sees them together and once:
//
//	tree.go         TOML to a tree that knows the line of each value
//	keys.go         the keys, their types and defaults
//	schema.go       the tree against the keys
//	suggest.go      what an unknown key was meant to be
//	server.go       the server's tree to a Server
//	client.go       the client's tree to a Client
//	limits.go         the limits of both
//	dashboard.go      the web dashboard of both
//	egress.go         what clients reach
//	values.go       values that are judged one by one:
//	address.go        addresses and networks
//	hostport.go       the server's address, and where it listens
//	names.go          names of clients and interfaces
//	access.go         who uses the control socket
//	metrics.go        where metrics are
//	paths.go          files, folders and sockets
//	forward.go        ports that lead to clients, and clients that reach others
//	rule.go           networks and ports that clients reach or not
//	tcp.go            how TCP travels
//	packetrule.go   which policy chooses the uplinks of packets
//	match.go          which packets that is about
//	matchtext.go      how it is written
//	uplink.go       which uplinks are used, and how
//	assign.go       addresses for clients that have none of their own
//	unavailable.go  what is valid but not built yet
//	errors.go       faults, in the order of the file
//	load.go         files
//
// Beside these stand invites (invite.go, token.go), edits of a server.toml
// that leave all else in it as it was (edit.go, replace.go), and in which keys two
// files differ (changes.go).
//
// What it returns needs no further check. The package reads and writes nothing
// but the one file, and keeps no state.
package config
