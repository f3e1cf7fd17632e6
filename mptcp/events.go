package mptcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"
)

// EventKind is what happened: enum mptcp_event_type of linux/mptcp_pm.h.
type EventKind uint8

// Kinds of events. In brackets, the fields of Event that the kernel fills beside
// Token.
const (
	// EventLost is not the kernel's: events were lost because they came faster
	// than they were read. Look at everything anew.
	EventLost EventKind = 0
	// EventCreated: a connection was made. [Local, Remote, ServerSide]
	EventCreated EventKind = 1
	// EventEstablished: it takes further subflows from now on. [likewise]
	EventEstablished EventKind = 2
	// EventClosed: a connection ended.
	EventClosed EventKind = 3
	// EventAnnounced: the peer announced an address. [Remote, RemoteID]
	EventAnnounced EventKind = 6
	// EventRemoved: the peer took an address back. [RemoteID]
	EventRemoved EventKind = 7
	// EventSubflowEstablished: a subflow joined. [Local, Remote, LocalID,
	// RemoteID, Backup, IfIndex]
	EventSubflowEstablished EventKind = 10
	// EventSubflowClosed: a subflow ended. [likewise, and Err, ResetReason]
	EventSubflowClosed EventKind = 11
	// EventSubflowPriority: the peer changed the backup bit. [likewise]
	EventSubflowPriority EventKind = 13
	// EventListenerCreated, EventListenerClosed: of any MPTCP listener. [Local]
	EventListenerCreated EventKind = 15
	EventListenerClosed  EventKind = 16
)

var eventNames = map[EventKind]string{
	EventLost: "lost", EventCreated: "created", EventEstablished: "established", EventClosed: "closed",
	EventAnnounced: "announced", EventRemoved: "removed",
	EventSubflowEstablished: "subflow-established", EventSubflowClosed: "subflow-closed",
	EventSubflowPriority: "subflow-priority",
	EventListenerCreated: "listener-created", EventListenerClosed: "listener-closed",
}

func (k EventKind) String() string {
	if s, ok := eventNames[k]; ok {
		return s
	}
	return fmt.Sprintf("event-%d", uint8(k))
}

// ResetReason is why a subflow was reset (MP_TCPRST, RFC 8684 section 3.6).
type ResetReason uint32

var resetReasons = [...]string{"unspecified", "MPTCP error", "lack of resources", "administratively prohibited",
	"too much outstanding data", "unacceptable performance", "middlebox interference"}

func (r ResetReason) String() string {
	if int64(r) < int64(len(resetReasons)) {
		return resetReasons[r]
	}
	return fmt.Sprintf("reason-%d", uint32(r))
}

// An Event is one message of the group mptcp_pm_events, of any MPTCP connection
// or listener in the namespace. Fields that a message lacks are zero.
type Event struct {
	Kind  EventKind
	Token uint32 // the connection, as Conn.Token has it
	// Local and Remote are unmapped.
	Local, Remote     netip.AddrPort
	LocalID, RemoteID uint8
	Backup            bool // the peer asked for it; what this side asked for is not told
	ServerSide        bool
	IfIndex           int           // the interface the subflow is bound to
	Err               syscall.Errno // the subflow's error, 0 for none
	ResetReason       ResetReason   // where Reset
	Reset             bool
}

// Attributes of events, enum mptcp_event_attr.
const (
	eventAttrToken       = 1  // u32
	eventAttrFamily      = 2  // u16
	eventAttrLocalID     = 3  // u8
	eventAttrRemoteID    = 4  // u8
	eventAttrSource4     = 5  // network order
	eventAttrSource6     = 6  //
	eventAttrDest4       = 7  //
	eventAttrDest6       = 8  //
	eventAttrSourcePort  = 9  // u16, network order
	eventAttrDestPort    = 10 // u16, network order
	eventAttrBackup      = 11 // u8
	eventAttrError       = 12 // u8
	eventAttrFlags       = 13 // u16
	eventAttrIfIndex     = 15 // s32
	eventAttrResetReason = 16 // u32
	eventAttrServerSide  = 18 // u8

	eventFlagServerSide = 1 << 1 // MPTCP_PM_EV_FLAG_SERVER_SIDE, since 6.18
)

// decodeEvent decodes the attributes of one event. Unknown attributes and kinds
// are passed over; an attribute of unexpected length reads as zero.
func decodeEvent(kind uint8, data []byte) (Event, error) {
	ev := Event{Kind: EventKind(kind)}
	var local, remote netip.Addr
	var localPort, remotePort uint16
	err := eachAttr(data, func(typ uint16, v fields) error {
		switch typ {
		case eventAttrToken:
			ev.Token = v.u32(0)
		case eventAttrLocalID:
			ev.LocalID = v.u8(0)
		case eventAttrRemoteID:
			ev.RemoteID = v.u8(0)
		case eventAttrSource4, eventAttrSource6:
			local, _ = netip.AddrFromSlice(v)
		case eventAttrDest4, eventAttrDest6:
			remote, _ = netip.AddrFromSlice(v)
		case eventAttrSourcePort:
			localPort = v.bigEndian16()
		case eventAttrDestPort:
			remotePort = v.bigEndian16()
		case eventAttrBackup:
			ev.Backup = v.u8(0) != 0
		case eventAttrError:
			ev.Err = syscall.Errno(v.u8(0))
		case eventAttrFlags:
			ev.ServerSide = ev.ServerSide || v.u16(0)&eventFlagServerSide != 0
		case eventAttrIfIndex:
			ev.IfIndex = int(int32(v.u32(0)))
		case eventAttrResetReason:
			ev.ResetReason, ev.Reset = ResetReason(v.u32(0)), true
		case eventAttrServerSide:
			ev.ServerSide = ev.ServerSide || v.u8(0) != 0
		}
		return nil
	})
	if err != nil {
		return Event{}, err
	}
	if local.IsValid() {
		ev.Local = netip.AddrPortFrom(local.Unmap(), localPort)
	}
	if remote.IsValid() {
		ev.Remote = netip.AddrPortFrom(remote.Unmap(), remotePort)
	}
	return ev, nil
}

// An EventStream is a subscription to the namespace's MPTCP events. One
// goroutine reads it; Close may come from another.
type EventStream struct {
	conn      *genetlink.Conn
	family    uint16
	closed    atomic.Bool
	queue     []Event
	malformed uint64
}

// OpenEvents subscribes, in the network namespace of the calling thread. It
// needs CAP_NET_ADMIN. The caller closes the stream.
func OpenEvents() (*EventStream, error) {
	conn, family, err := dialFamily()
	if err != nil {
		return nil, err
	}
	for _, g := range family.Groups {
		if g.Name != groupName {
			continue
		}
		if err := conn.JoinGroup(g.ID); err != nil {
			conn.Close()
			return nil, (&PathError{Op: "subscribe to events"}).fill(err)
		}
		// A failure to enlarge it only makes EventLost likelier.
		_ = conn.SetReadBuffer(1 << 20)
		return &EventStream{conn: conn, family: family.ID}, nil
	}
	conn.Close()
	return nil, &PathError{Op: "subscribe to events", Err: ErrUnsupported}
}

// Next waits for the next event. Messages that cannot be decoded are passed
// over. The error is the context's when that ends, net.ErrClosed after Close,
// and otherwise the end of the stream.
func (s *EventStream) Next(ctx context.Context) (Event, error) {
	if len(s.queue) == 0 {
		stop := context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	for len(s.queue) == 0 {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		if err := s.fill(); err != nil {
			if ctxErr := ctx.Err(); ctxErr != nil {
				return Event{}, ctxErr
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				// An earlier context's end, which came late.
				s.conn.SetReadDeadline(time.Time{})
				continue
			}
			return Event{}, err
		}
	}
	ev := s.queue[0]
	s.queue = s.queue[1:]
	return ev, nil
}

// fill reads what the socket has. A message that makes no sense is counted and
// does not end the stream; an error of the socket does.
func (s *EventStream) fill() error {
	msgs, raw, err := s.conn.Receive()
	var errno syscall.Errno
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOBUFS):
		s.queue = append(s.queue, Event{Kind: EventLost})
		return nil
	case s.closed.Load(): // whatever a closed descriptor answers
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &errno):
		return err
	default:
		s.malformed++
		return nil
	}
	for i, m := range msgs {
		if i < len(raw) && uint16(raw[i].Header.Type) != s.family {
			continue
		}
		ev, err := decodeEvent(m.Header.Command, m.Data)
		if err != nil || ev.Kind == EventLost {
			s.malformed++
			continue
		}
		s.queue = append(s.queue, ev)
	}
	return nil
}

// Malformed counts the messages that were passed over.
func (s *EventStream) Malformed() uint64 { return s.malformed }

// Close ends the subscription and a waiting Next.
func (s *EventStream) Close() error {
	s.closed.Store(true)
	return s.conn.Close()
}

// Events subscribes and calls handle with every event until the context ends,
// whose error it then returns, or the stream breaks. handle runs on the calling
// goroutine and should be quick.
func Events(ctx context.Context, handle func(Event)) error {
	s, err := OpenEvents()
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		ev, err := s.Next(ctx)
		if err != nil {
			return err
		}
		handle(ev)
	}
}
