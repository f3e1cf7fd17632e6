package doctor

import (
	"net/netip"
	"time"
)

// Facts are what was found out. A zero value says that something is not known.
type Facts struct {
	Host    Host
	Client  *Client  // nil: no client is configured here
	Serving *Serving // a server of this host; nil: none is configured
	Uplinks []Uplink // those that the client may use; in order of preference
	Skipped []Skipped
}

// Host is what was found out about the host.
type Host struct {
	Kernel  string // as uname -r says
	Support []Support
	// BlackholeArmed: net.mptcp.blackhole_timeout is not 0. BlackholeActive: the
	// kernel has made plain TCP of a Multipath TCP connection because of it.
	BlackholeArmed, BlackholeActive bool
	ForeignRules                    []string // routing rules of others that come before braid's
	Endpoints                       []string // of the kernel's path manager
	Firewalls                       []Firewall
	OrphanedSwitches                []string // kill switches whose clients do not run, by device
	ClockBehind                     time.Duration
	ClockEvidence                   string
}

// Support is something that braid needs of the kernel.
type Support struct {
	ID           string // of the catalogue
	OK           bool
	Detail, Mend string
}

// Firewall is a chain that drops what the tunnel forwards.
type Firewall struct{ Chain, Drops, Mend string }

// Daemon is a braid on this host.
type Daemon struct {
	Running bool
	Version string
	// Descriptors is how many files it may have open, Needed how many its
	// limits of streams can need. 0: not known.
	Descriptors, Needed uint64
	NoPacing            string // why streams are not bounded beside calls; empty: they are, or it is not known
}

// Client is what was found out of the client of this host.
type Client struct {
	Daemon
	SessionUp bool
	Reason    string // why the session is down
	NamesFail string // why programs are not told to ask through the tunnel
	// NameErrors are of servers' names that nobody could tell.
	NameErrors []string
	Limited    uint64 // streams that a limit refused
}

// Outcome is what became of a connection that was tried.
type Outcome uint8

// The outcomes.
const (
	NotTried    Outcome = iota
	Answered            // it is open
	Refused             // by a reset
	Silent              // no answer in time
	Unreachable         // the network says so
	Blocked             // this host forbids it
	Failed              // anything else
)

// Trial is a connection that was tried.
type Trial struct {
	Outcome Outcome
	Took    time.Duration
	Text    string // of the error
}

// Verdict is what an examination of the server gave.
type Verdict uint8

// The verdicts.
const (
	NotExamined    Verdict = iota
	Well                   // the server has told how it is
	Hung                   // the connection is open, and nothing came in time
	WrongServerKey         // another server than the configuration's
	WrongClientKey         // the server does not know this client
	OtherProtocol          // a braid of another version
	NoBraid                // something else answers
	Busy                   // the server has no time
)

// Way is one way to the server: from an uplink to one address.
type Way struct {
	Server           netip.AddrPort
	Plain, Multipath Trial // connections of plain TCP, and of Multipath TCP
	SYN              bool  // the SYN's answer had the option of Multipath TCP
	Data, ServerData bool  // and it was still there behind the first data, as either end sees it
	// SYNDropped: SYNs with the option were lost, one without came through.
	SYNDropped bool
	// Verdict of the examination, over Multipath TCP where that came about.
	Verdict    Verdict
	Text, Hint string // of its error
	// OverPlain: over plain TCP the examination went well.
	OverPlain   bool
	PathMTU     int // as the kernel knows it, bytes
	Fits, Lost  int // sizes of packets that came through, and that did not; 0: no packet is lost for its size
	LostInbound bool
	Vitals      Vitals
}

// Vitals is what the server told.
type Vitals struct {
	Skew                 time.Duration // how far its clock is ahead of this host's
	Software             string
	Seen                 netip.AddrPort // where the connection comes from, for the server
	Local                netip.AddrPort // where it comes from here
	Streams, MostStreams int
}

// reached reports whether a connection came about.
func (w Way) reached() bool { return w.Plain.Outcome == Answered || w.Multipath.Outcome == Answered }

// tried reports whether it was tried.
func (w Way) tried() bool { return w.Plain.Outcome != NotTried || w.Multipath.Outcome != NotTried }

// Beats are small questions and their answers on one connection.
type Beats struct {
	Asked, Answered    int
	LostOut, LostIn    int // segments that the kernels sent again
	Min, Median, Worst time.Duration
}

// Load is what a transfer did to the round trip.
type Load struct {
	Idle, Down, Up     time.Duration // the round trips: before, and the upper tenth meanwhile
	DownBytes, UpBytes int
}

// Uplink is what was found out about an uplink.
type Uplink struct {
	Name               string
	Role               string
	Missing            string // why it cannot be used at all: no such interface, no address, no default route
	Addresses          []netip.Addr
	Subnets            []netip.Prefix
	Gateway4, Gateway6 netip.Addr
	RouterMAC          string // hardware address of its gateway
	MTU                int    // bytes, of the interface
	Strict             bool   // its reverse-path filter is strict
	First              bool   // the host's own routes prefer it
	Ways               []Way
	Beats              *Beats
	Load               *Load
	Names              []NameTrial
	Daemon             *UplinkStatus
	// Alike are uplinks that have a network in common with this one.
	Alike []Alike
}

// Alike is an uplink that looks like another.
type Alike struct {
	Name        string
	Network     netip.Prefix
	SameAddress bool // and the kernel cannot tell them apart
	SameRouter  bool // the very same, by its hardware address
}

// NameTrial is a nameserver that was asked by an uplink.
type NameTrial struct {
	Server   netip.Addr
	UDP, TCP bool // it answered
}

// UplinkStatus is what the running client says of an uplink.
type UplinkStatus struct {
	State, Use, Reason string
	Subflows           int
	MPTCP              bool
	RTT, MinRTT        time.Duration
	RxBps, TxBps       float64
	RecentDeaths       int // in the last ten minutes
	CapBytes, CapUsed  uint64
}

// Serving is what was found out of a server of this host.
type Serving struct {
	Daemon
	PortTaken       []string // addresses on which another program listens
	NotListening    []string // addresses on which it should
	ForwardingOff   []string // settings that are not on
	TableMissing    bool     // nftables lacks the tunnel's table, and the configuration needs one
	SubflowLimit    uint32   // that the host's kernel allows
	SubflowWanted   uint32
	Clients, Online int
	PlainClients    []string // whose connections are plain TCP
	LimitedClients  []string // of whose streams a limit refused some
}
