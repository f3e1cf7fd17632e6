package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"braid/lab"

	"golang.org/x/net/dns/dnsmessage"
)

// DNSQuery is a question that a DNSServer was asked.
type DNSQuery struct {
	From netip.AddrPort
	Name string // without the dot at the end
	Type string // such as TypeAAAA
}

// DNSServer answers A and AAAA queries over UDP from a fixed set of names; any
// other name does not exist.
type DNSServer struct {
	Addr netip.AddrPort

	conn  net.PacketConn
	names map[string][]netip.Addr
	done  chan struct{}

	mu      sync.Mutex // guards queries
	queries []DNSQuery
}

// dnsTTL is the lifetime of answers, in seconds: too short to hide a failure.
const dnsTTL = 1

// ServeDNS serves in a host on an address such as 192.0.2.2:53, with the
// addresses of each name in lower case.
func ServeDNS(h *lab.Host, address string, names map[string][]netip.Addr) (*DNSServer, error) {
	conn, err := h.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, fmt.Errorf("serve dns in %s: %w", h.Name(), err)
	}
	s := &DNSServer{Addr: addrPortOf(conn.LocalAddr()), conn: conn, names: names, done: make(chan struct{})}
	go s.serve()
	return s, nil
}

// Queries returns all queries so far.
func (s *DNSServer) Queries() []DNSQuery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Close ends the server.
func (s *DNSServer) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

func (s *DNSServer) serve() {
	defer close(s.done)
	buf := make([]byte, largestDatagram)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if reply, err := s.answer(addrPortOf(from), buf[:n]); err == nil { // nonsense gets no answer
			_, _ = s.conn.WriteTo(reply, from)
		}
	}
}

func (s *DNSServer) answer(from netip.AddrPort, query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil || header.Response {
		return nil, errors.Join(err, errors.New("not a query"))
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	s.mu.Lock()
	s.queries = append(s.queries, DNSQuery{from, name, q.Type.String()})
	s.mu.Unlock()

	addresses, known := s.names[name]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionAvailable: true,
			RecursionDesired: header.RecursionDesired,
		},
		Questions: []dnsmessage.Question{q},
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addresses {
		var body dnsmessage.ResourceBody
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			body = &dnsmessage.AResource{A: a.As4()}
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: dnsTTL},
			Body:   body,
		})
	}
	return reply.Pack()
}
