package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"braid/lab"
	"braid/lab/emulator"
)

// TCPEchoServer sends back what it receives on each connection. When a client
// ends its half it ends its own, after the last byte.
type TCPEchoServer struct {
	Addr netip.AddrPort

	listener net.Listener
	wg       sync.WaitGroup

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
}

// ServeTCPEcho serves in a host on an address such as 192.0.2.2:7, or :7 for all.
func ServeTCPEcho(h *lab.Host, address string) (*TCPEchoServer, error) {
	listener, err := h.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve tcp echo in %s: %w", h.Name(), err)
	}
	s := &TCPEchoServer{Addr: addrPortOf(listener.Addr()), listener: listener, open: make(map[net.Conn]struct{})}
	s.wg.Go(s.serve)
	return s, nil
}

func (s *TCPEchoServer) serve() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.open[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			_, _ = io.Copy(c, c) // the client sees when it fails
			c.Close()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// Open is how many connections there are now.
func (s *TCPEchoServer) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Close ends the server and its connections.
func (s *TCPEchoServer) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// Conversation sends Content on one connection to a TCPEchoServer and compares
// every byte that comes back. It goes on until Finish.
type Conversation struct {
	conn net.Conn
	stop chan struct{} // closed by Finish
	done chan struct{} // closed when both ways have ended

	sent, verified atomic.Int64
	err            error // the first failure; set before done is closed
}

// conversationStep is how often a conversation with a rate sends a piece.
const conversationStep = 10 * time.Millisecond

// StartConversation connects from inside a host and begins. A rate of 0 is as
// fast as it goes. The context bounds connecting alone.
func StartConversation(ctx context.Context, h *lab.Host, to netip.AddrPort, rate emulator.BitRate) (*Conversation, error) {
	conn, err := h.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("start conversation in %s: %w", h.Name(), err)
	}
	c := &Conversation{conn: conn, stop: make(chan struct{}), done: make(chan struct{})}
	sending := make(chan error, 1)
	go func() { sending <- c.send(rate) }()
	go func() {
		defer close(c.done)
		err := c.receive()
		if err != nil {
			conn.Close() // or the sender would wait for ever
		}
		failed := <-sending
		if err == nil {
			err = failed
		}
		c.err = err
	}()
	return c, nil
}

// send sends until Finish, then ends its half.
func (c *Conversation) send(rate emulator.BitRate) error {
	content := Content(math.MaxInt64)
	piece := make([]byte, blockBytes)
	if rate > 0 {
		piece = piece[:max(1, int(float64(rate)/8*conversationStep.Seconds()))]
	}
	for next := time.Now(); ; next = next.Add(conversationStep) {
		select {
		case <-c.stop:
			return c.conn.(*net.TCPConn).CloseWrite()
		default:
		}
		if _, err := io.ReadFull(content, piece); err != nil {
			return err
		}
		n, err := c.conn.Write(piece)
		c.sent.Add(int64(n))
		if err != nil {
			return err
		}
		if rate == 0 {
			continue
		}
		if late := time.Since(next); late > time.Second {
			next = next.Add(late) // what was missed while it stood is not made up for
		}
		select {
		case <-time.After(time.Until(next.Add(conversationStep))):
		case <-c.stop:
		}
	}
}

// receive compares until the end of the other half.
func (c *Conversation) receive() error {
	content := Content(math.MaxInt64)
	got, want := make([]byte, blockBytes), make([]byte, blockBytes)
	for {
		n, err := c.conn.Read(got)
		if _, failed := io.ReadFull(content, want[:n]); failed != nil {
			return failed
		}
		if !bytes.Equal(got[:n], want[:n]) {
			i := 0
			for got[i] == want[i] {
				i++
			}
			return fmt.Errorf("byte %d is %#x, want %#x", c.verified.Load()+int64(i), got[i], want[i])
		}
		c.verified.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Verified is how many bytes have come back right.
func (c *Conversation) Verified() int64 { return c.verified.Load() }

// Done is closed when the conversation has ended, by Finish or a failure.
func (c *Conversation) Done() <-chan struct{} { return c.done }

// Finish ends it and waits for what is under way. It is an error if the
// connection broke, ended early, stands still for the patience, or if a byte was
// wrong or missing.
func (c *Conversation) Finish(patience time.Duration) error {
	close(c.stop)
	for last, since := int64(-1), time.Now(); ; {
		select {
		case <-c.done:
			sent, verified := c.sent.Load(), c.verified.Load()
			if c.err != nil {
				return fmt.Errorf("conversation broke after %d bytes of %d: %w", verified, sent, c.err)
			}
			c.conn.Close()
			if verified != sent {
				return fmt.Errorf("conversation: %d bytes came back of %d", verified, sent)
			}
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		if v := c.verified.Load(); v != last {
			last, since = v, time.Now()
		}
		if time.Since(since) > patience {
			c.conn.Close()
			<-c.done
			return fmt.Errorf("conversation stood for %v after %d bytes of %d", patience, last, c.sent.Load())
		}
	}
}

// Abort resets the connection and waits.
func (c *Conversation) Abort() {
	c.conn.(*net.TCPConn).SetLinger(0)
	c.conn.Close()
	<-c.done
}
