package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"braid/lab"
)

// quicPort is where the load server speaks QUIC (RFC 9000): bulk that travels as
// UDP, with a congestion control of its own.
const quicPort = 7001

const quicProtocol = "load"

// quicWindow is as much as TCP's windows grow to by themselves, bytes: the product
// of 80 Mb/s and a second.
const quicWindow = 10 << 20

func quicConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow: quicWindow, MaxStreamReceiveWindow: quicWindow,
		InitialConnectionReceiveWindow: quicWindow, MaxConnectionReceiveWindow: quicWindow,
	}
}

// quicServer sends zeros to who opens a stream, until that breaks.
type quicServer struct {
	socket   net.PacketConn
	listener *quic.Listener
	done     chan struct{}
}

func listenQUIC(h *lab.Host) (s *quicServer, err error) {
	s = &quicServer{done: make(chan struct{})}
	if s.socket, err = h.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", quicPort)); err != nil {
		return nil, fmt.Errorf("listen for QUIC: %w", err)
	}
	certificate, err := selfSigned()
	if err == nil {
		s.listener, err = quic.Listen(s.socket, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{quicProtocol}}, quicConfig())
	}
	if err != nil {
		s.socket.Close()
		return nil, fmt.Errorf("listen for QUIC: %w", err)
	}
	go s.serve()
	return s, nil
}

// selfSigned is a certificate that nobody looks at.
func selfSigned() (c tls.Certificate, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return c, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, public, private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}

// serve ends when the listener does; its connections end with it.
func (s *quicServer) serve() {
	defer close(s.done)
	conns := make(chan struct{})
	n := 0
	for {
		c, err := s.listener.Accept(context.Background())
		if err != nil {
			break
		}
		n++
		go func() {
			defer func() { conns <- struct{}{} }()
			stream, err := c.AcceptStream(c.Context())
			for b := zeros; err == nil; {
				_, err = stream.Write(b)
			}
		}()
	}
	for range n {
		<-conns
	}
}

func (s *quicServer) close() {
	s.listener.Close()
	s.socket.Close() // which breaks the connections
	<-s.done
}

// quicFlow is the client's end of a download.
type quicFlow struct {
	*quic.Stream
	conn   *quic.Conn
	socket net.PacketConn
}

// dialQUIC asks the server for a download.
func dialQUIC(ctx context.Context, w way) (_ *quicFlow, err error) {
	f := &quicFlow{}
	if f.socket, err = w.host.ListenPacket(ctx, "udp", netip.AddrPortFrom(anyOr(w.from), 0).String()); err != nil {
		return nil, fmt.Errorf("dial QUIC: %w", err)
	}
	defer func() {
		if err != nil {
			f.socket.Close()
			err = fmt.Errorf("dial QUIC: %w", err)
		}
	}()
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.to, quicPort))
	f.conn, err = quic.Dial(ctx, f.socket, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}}, quicConfig())
	if err != nil {
		return nil, err
	}
	if f.Stream, err = f.conn.OpenStreamSync(ctx); err == nil {
		_, err = f.Stream.Write([]byte{sendToClient}) // or the peer hears of no stream
	}
	return f, err
}

// anyOr is an address, or any where there is none.
func anyOr(a netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return netip.IPv4Unspecified()
}

// Close ends the download; the server hears of it.
func (f *quicFlow) Close() error {
	f.conn.CloseWithError(0, "enough")
	return f.socket.Close()
}
