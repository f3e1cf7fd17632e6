package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"braid/lab"
	"braid/lab/emulator"
)

// udpPort is where the load server sends bulk over UDP to who asks: as much as was
// asked for, whatever arrives.
const udpPort = 7002

const (
	// udpPacket is the payload of each datagram: 1,400 bytes with its headers, which
	// pass through all tunnels.
	udpPacket = 1372
	// udpBatch datagrams at most are handed to the kernel at once (UDP_SEGMENT,
	// udp(7)): 64 KiB of them.
	udpBatch = 45
	// udpStep is how often a paced sender sends.
	udpStep = time.Millisecond
	// udpAsk is how often a client asks, and udpLinger how long the server sends
	// without being asked.
	udpAsk    = 150 * time.Millisecond
	udpLinger = 600 * time.Millisecond
)

// udpServer sends datagrams to each address that asks, at the rate that it asks
// for in a u64 of bits per second, 0 for as much as the kernel takes.
type udpServer struct {
	conn  *net.UDPConn
	stop  context.CancelFunc
	flows sync.WaitGroup
}

func listenUDP(h *lab.Host) (*udpServer, error) {
	socket, err := h.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", udpPort))
	if err != nil {
		return nil, fmt.Errorf("listen for UDP: %w", err)
	}
	conn := socket.(*net.UDPConn)
	if err := setUDP(conn, unix.UDP_SEGMENT, udpPacket); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen for UDP: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &udpServer{conn: conn, stop: stop}
	s.flows.Go(func() { s.serve(ctx) })
	return s, nil
}

func setUDP(c syscall.Conn, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, option, value) }); e != nil {
		return e
	}
	return err
}

// serve begins a flow for each new address, and tells the others that they are
// still wanted.
func (s *udpServer) serve(ctx context.Context) {
	asked := make(map[netip.AddrPort]chan struct{})
	over := make(chan netip.AddrPort)
	asks := make(chan struct{}) // closed when there are none any more
	type ask struct {
		from netip.AddrPort
		rate emulator.BitRate
	}
	came := make(chan ask)
	s.flows.Go(func() {
		defer close(asks)
		var b [8]byte
		for {
			n, from, err := s.conn.ReadFromUDPAddrPort(b[:])
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < len(b) {
				continue
			}
			select {
			case came <- ask{from, emulator.BitRate(binary.BigEndian.Uint64(b[:]))}:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		select {
		case a := <-came:
			again, ok := asked[a.from]
			if !ok {
				again = make(chan struct{}, 1)
				asked[a.from] = again
				s.flows.Go(func() {
					s.send(ctx, a.from, a.rate, again)
					select {
					case over <- a.from:
					case <-ctx.Done():
					}
				})
			}
			select {
			case again <- struct{}{}:
			default:
			}
		case from := <-over:
			delete(asked, from)
		case <-ctx.Done():
			<-asks
			return
		}
	}
}

// send sends until nobody has asked for a while.
func (s *udpServer) send(ctx context.Context, to netip.AddrPort, rate emulator.BitRate, again <-chan struct{}) {
	var b [udpBatch * udpPacket]byte
	asked := time.Now()
	due := 0.0 // bytes
	for last := asked; ctx.Err() == nil && time.Since(asked) < udpLinger; {
		select {
		case <-again:
			asked = time.Now()
		default:
		}
		now := time.Now()
		due = min(due+float64(rate)/8*now.Sub(last).Seconds(), float64(len(b)))
		last = now
		n := int(due) / udpPacket * udpPacket
		if rate == 0 {
			n = len(b)
		}
		if n > 0 {
			_, _ = s.conn.WriteToUDPAddrPort(b[:n], to) // as lossy as UDP is
			due -= float64(n)
		}
		if rate > 0 {
			time.Sleep(udpStep)
		}
	}
}

func (s *udpServer) close() {
	s.stop()
	s.conn.Close()
	s.flows.Wait()
}

// udpFlow is the client's end: what is read are datagrams, several at once
// (UDP_GRO).
type udpFlow struct {
	net.Conn
	done chan struct{}
	asks sync.WaitGroup
}

// udpBuffer is what the client's kernel holds of a flow, bytes: a burst is not to
// be lost for want of it.
const udpBuffer = 4 << 20

// askUDP asks the server for a flow.
func askUDP(ctx context.Context, w way, rate emulator.BitRate) (io.ReadCloser, error) {
	var d net.Dialer
	if w.from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.from, 0))
	}
	c, err := w.host.DialWith(ctx, &d, "udp", netip.AddrPortFrom(w.to, udpPort).String())
	if err != nil {
		return nil, fmt.Errorf("ask for UDP: %w", err)
	}
	f := &udpFlow{Conn: c, done: make(chan struct{})}
	conn := c.(*net.UDPConn)
	if err := errors.Join(setUDP(conn, unix.UDP_GRO, 1), conn.SetReadBuffer(udpBuffer)); err != nil {
		c.Close()
		return nil, fmt.Errorf("ask for UDP: %w", err)
	}
	f.asks.Go(func() {
		t := time.NewTicker(udpAsk)
		defer t.Stop()
		for {
			_ = writeNumber(c, uint64(rate)) // one that is lost is asked again
			select {
			case <-t.C:
			case <-f.done:
				return
			}
		}
	})
	return f, nil
}

// Close ends the asking; what is on its way still comes for a while.
func (f *udpFlow) Close() error {
	close(f.done)
	f.asks.Wait()
	return f.Conn.Close()
}
