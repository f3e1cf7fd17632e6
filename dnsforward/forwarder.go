// Package dnsforward answers this host's DNS queries by asking DNS servers that are
// reached through the tunnel.
//
// A query takes this way:
//
//  1. A program asks on the loopback address where the Forwarder listens, over UDP
//     or TCP. A dns.Server reads it (forwarder.go); what is not asked by this host
//     gets no answer, what is too much at once gets SERVFAIL.
//  2. The servers are put in order, by what each took so far (timing.go).
//  3. The first is asked. If its answer takes longer than it should, the next one is,
//     then the first again, until one answers or patience ends (race.go). So a query
//     that an uplink swallowed as it died costs some tens of milliseconds, where the
//     C library would wait five seconds.
//  4. Each server has a socket of its own for each query, with a random port and a
//     random ID (ask.go). An answer counts if it comes from that server, has the ID
//     and repeats the question (answer.go). It goes to the program as it came, but for
//     the ID: what EDNS and DNSSEC have put there stays.
//
// There is no cache: the servers have one, and programs' own are short-lived by
// design. A copy here would only be one more place to be wrong.
package dnsforward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// Bounds of what the programs of this host can make the Forwarder hold. A query
// has at most serversPerQuery sockets and as many buffers of bufferBytes, some 6 MB
// for all.
const (
	maxQueries = 512 // at once; a busy mail server has some tens
	maxConns   = 64  // TCP connections of programs at once
	tcpIdle    = 10 * time.Second
)

// Config is what a Forwarder works with.
type Config struct {
	// UDP and TCP are where programs ask: the same port of one loopback address.
	// Run closes them.
	UDP net.PacketConn
	TCP net.Listener
	// Dial connects to a DNS server through the tunnel; network is "udp" or "tcp".
	Dial func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)
	Log  *slog.Logger
}

// Forwarder asks the tunnel's DNS servers for the programs of this host. Its methods
// are safe for concurrent use.
type Forwarder struct {
	cfg   Config
	slots chan struct{} // one for each query at once

	queries, failed, again, limited atomic.Uint64

	mu      sync.Mutex // guards what follows
	servers []*server  // in the order of the configuration
}

// Status is what a Forwarder has done since it began.
type Status struct {
	Servers []netip.Addr // that are asked
	Queries uint64
	Failed  uint64 // of Queries: nobody answered in time
	Again   uint64 // questions asked again, of the same server or another
	Limited uint64 // queries beyond the most at once
}

// New returns a Forwarder without servers: it answers SERVFAIL until SetServers.
func New(c Config) *Forwarder {
	return &Forwarder{cfg: c, slots: make(chan struct{}, maxQueries)}
}

// dnsPort is where DNS servers listen (RFC 1035, section 4.2).
const dnsPort = 53

// SetServers says whom to ask from now on, in order of preference until it is known
// how fast they are.
func (f *Forwarder) SetServers(list []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.servers
	f.servers = nil
next:
	for _, a := range list {
		addr := netip.AddrPortFrom(a.Unmap(), dnsPort)
		for _, s := range known {
			if s.addr == addr {
				f.servers = append(f.servers, s)
				continue next
			}
		}
		f.servers = append(f.servers, &server{addr: addr})
	}
}

// Status tells what was done.
func (f *Forwarder) Status() Status {
	s := Status{Queries: f.queries.Load(), Failed: f.failed.Load(), Again: f.again.Load(), Limited: f.limited.Load()}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.servers {
		s.Servers = append(s.Servers, v.addr.Addr())
	}
	return s
}

// Run answers queries until ctx ends.
func (f *Forwarder) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { f.serve(ctx, w, q) })
	for _, s := range []*dns.Server{
		{PacketConn: f.cfg.UDP, UDPSize: bufferBytes},
		{Listener: netutil.LimitListener(f.cfg.TCP, maxConns), IdleTimeout: func() time.Duration { return tcpIdle }},
	} {
		s.Handler = handler
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		served := make(chan struct{})
		g.Go(func() error {
			defer close(served)
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve DNS: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			select {
			case <-started: // before that Shutdown does nothing
			case <-served:
			}
			// Waits for those who are being served; it fails where serving has.
			_ = s.Shutdown()
			<-served
			return nil
		})
	}
	return g.Wait()
}

// serve answers one query.
func (f *Forwarder) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	if !fromHere(w.RemoteAddr()) {
		return // whoever routed it here shall not learn that somebody listens
	}
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		f.refuse(w, q, dns.RcodeNotImplemented)
		return
	}
	if t := q.Question[0].Qtype; t == dns.TypeAXFR || t == dns.TypeIXFR {
		f.refuse(w, q, dns.RcodeRefused) // many answers to one question
		return
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		f.limited.Add(1)
		f.refuse(w, q, dns.RcodeServerFailure)
		return
	}
	f.queries.Add(1)
	network := w.LocalAddr().Network()
	size := udpSize(q)
	answer, err := f.race(ctx, q, network)
	if err != nil {
		if ctx.Err() == nil {
			f.failed.Add(1)
			f.cfg.Log.Debug("DNS query failed", "error", err)
		}
		f.refuse(w, q, dns.RcodeServerFailure)
		return
	}
	setID(answer, q.Id)
	if network == "udp" && len(answer) > size {
		answer = truncate(answer)
	}
	_, _ = w.Write(answer) // who has gone needs none
}

// refuse answers with an error of our own.
func (f *Forwarder) refuse(w dns.ResponseWriter, q *dns.Msg, code int) {
	m := new(dns.Msg).SetRcode(q, code)
	m.RecursionAvailable = true
	_ = w.WriteMsg(m)
}

// fromHere reports whether a program of this host asks. The kernel drops packets of
// others toward loopback addresses, unless somebody has told it not to
// (route_localnet).
func fromHere(a net.Addr) bool {
	p, err := netip.ParseAddrPort(a.String())
	return err == nil && p.Addr().Unmap().IsLoopback()
}

// udpSize is the most bytes of an answer over UDP that who asks can take (RFC 6891,
// section 6.2.3).
func udpSize(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return max(dns.MinMsgSize, int(o.UDPSize()))
	}
	return dns.MinMsgSize
}

var errNoServers = errors.New("no DNS servers of the tunnel are known yet")
