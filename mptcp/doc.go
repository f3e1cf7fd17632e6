// Package mptcp is braid's border to Multipath TCP in the Linux kernel: sockets,
// what the kernel knows of their subflows, and the path manager.
//
//	       Dial, Listen                 Info, Subflows, TCPInfo
//	            │                                 │ getsockopt
//	            ▼                                 ▼
//	┌─ Conn (one MPTCP connection, RFC 8684) ───────────────────────┐
//	│ subflow id 0: made by connect      subflows id ≥ 1: joined    │
//	└──────▲────────────────────────────────▲───────────────────────┘
//	       │ REMOVE, DESTROY, SET_FLAGS     │ SUBFLOW_CREATE (generic netlink)
//	       └───────────── PathManager ──────┘
//	                          ▲
//	                        Bond: makes a connection's subflows equal to a wanted set
//
// The package has no goroutine and no clock of its own and imports nothing of
// braid: a caller decides when to look and when to act.
//
// Sockets are made with IPPROTO_MPTCP explicitly, so a kernel without MPTCP is
// an error (ErrUnsupported) and never a silent plain TCP connection. What the
// peer or the path does later is told by Conn.MPTCP: a peer without MPTCP and
// a middlebox that strips its options leave a working connection that is plain
// TCP (RFC 8684 section 3.7).
//
// Sockets, the path manager and event streams belong to the network namespace
// of the thread that opens them, and stay in it.
//
// Kernels: 6.6 and newer in full. 6.1 lacks MPTCP_FULL_INFO, for which two older
// options stand in (Subflow.ID is 0 then), and TCP_NOTSENT_LOWAT.
//
// Not every kernel heeds the interface that a joining subflow is given, see
// PathManager.CreateSubflow: a routing rule by source address must exist as well.
package mptcp
