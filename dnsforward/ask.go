package dnsforward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// bufferBytes is the most bytes of an answer over UDP: what programs and servers
// use in practice, RFC 6891, section 6.2.5.
const bufferBytes = 4096

// ask is one query to one server, asked once or more. It belongs to the goroutine
// of race.
type ask struct {
	server  *server
	network string
	dial    func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)
	query   *dns.Msg
	out     chan<- outcome // gets one outcome; it has room

	wire  []byte   // the query with an ID of its own
	conn  net.Conn // of UDP, once it was asked
	asked time.Time
	times int
	over  bool // its outcome was received
}

// outcome is how an ask ended: an answer or an error.
type outcome struct {
	ask    *ask
	answer []byte
	err    error
}

func newAsk(dial func(context.Context, string, netip.AddrPort) (net.Conn, error), s *server, q *dns.Msg, network string, out chan<- outcome) *ask {
	query := q.Copy()
	query.Id = dns.Id()
	if o := query.IsEdns0(); o != nil && o.UDPSize() > bufferBytes {
		o.SetUDPSize(bufferBytes)
	}
	return &ask{server: s, network: network, dial: dial, query: query, out: out}
}

// ask asks, for the first time or again, without waiting. What it begins ends with
// ctx.
func (a *ask) ask(ctx context.Context, wg *sync.WaitGroup) {
	a.times++
	if a.times > 1 {
		if a.conn != nil { // TCP repeats by itself
			_, _ = a.conn.Write(a.wire) // the next time may do
		}
		return
	}
	a.asked = time.Now()
	var err error
	if a.wire, err = a.query.Pack(); err != nil {
		a.out <- outcome{a, nil, fmt.Errorf("write query: %w", err)}
		return
	}
	if a.network == "tcp" {
		wg.Go(func() {
			answer, err := a.overTCP(ctx)
			a.out <- outcome{a, answer, err}
		})
		return
	}
	// Connected, so that the kernel drops what comes from elsewhere, and on a port
	// that the kernel has drawn at random.
	if a.conn, err = a.dial(ctx, "udp", a.server.addr); err == nil {
		if _, err = a.conn.Write(a.wire); err != nil {
			a.conn.Close()
		}
	}
	if err != nil {
		a.out <- outcome{a, nil, err}
		return
	}
	wg.Go(func() {
		defer context.AfterFunc(ctx, func() { a.conn.Close() })()
		defer a.conn.Close()
		answer, err := a.read()
		a.out <- outcome{a, answer, err}
	})
}

// read waits for an answer over UDP.
func (a *ask) read() ([]byte, error) {
	buf := make([]byte, bufferBytes)
	for {
		n, err := a.conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], a.query) {
			return buf[:n], nil
		}
	}
}

// overTCP asks on a connection of its own.
func (a *ask) overTCP(ctx context.Context) ([]byte, error) {
	raw, err := a.dial(ctx, "tcp", a.server.addr)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := &dns.Conn{Conn: raw}
	if _, err := conn.Write(a.wire); err != nil {
		return nil, err
	}
	answer, err := conn.ReadMsgHeader(nil)
	if err != nil {
		return nil, err
	}
	if !answers(answer, a.query) {
		return nil, errForeign
	}
	return answer, nil
}
