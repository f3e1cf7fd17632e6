package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"braid/tunnel/wire"
)

// tcpPair makes a connection over the loopback.
func tcpPair(t testing.TB) (*net.TCPConn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// tcpLink is one end of a link that is a TCP connection without TLS. An idle
// one holds only what a header needs.
type tcpLink struct {
	*net.TCPConn
	header [wire.HeaderLen]byte
	buf    []byte // what was read ahead is buf[start:end]
	start  int
	end    int

	parts [][]byte
	rest  net.Buffers
}

func newTCPLinks(t testing.TB) (near, far *tcpLink) {
	a, b := tcpPair(t)
	return &tcpLink{TCPConn: a}, &tcpLink{TCPConn: b}
}

func (l *tcpLink) Cold() bool { return false }

func (l *tcpLink) Abort() error { return l.Close() }

func (l *tcpLink) WriteFrames(parts ...[]byte) error {
	l.parts = append(l.parts[:0], parts...)
	l.rest = l.parts // which WriteTo uses up
	_, err := l.rest.WriteTo(l.TCPConn)
	return err
}

func (l *tcpLink) ReadFrame() (wire.Type, []byte, error) {
	if err := l.need(wire.HeaderLen); err != nil {
		return 0, nil, err
	}
	typ, n, err := wire.ParseHeader(l.buf[l.start:l.end])
	if err != nil {
		return typ, nil, err
	}
	if err := l.need(wire.HeaderLen + n); err != nil {
		return typ, nil, err
	}
	p := l.buf[l.start+wire.HeaderLen:][:n]
	l.start += wire.HeaderLen + n
	return typ, p, nil
}

// need reads ahead until n bytes are there. A buffer is made when the first
// bytes have come.
func (l *tcpLink) need(n int) error {
	if l.start == l.end {
		l.start, l.end = 0, 0
	}
	if l.buf == nil {
		if _, err := io.ReadFull(l.TCPConn, l.header[:]); err != nil {
			return err
		}
		l.buf = make([]byte, tcpLinkBytes)
		l.end = copy(l.buf, l.header[:])
	}
	if len(l.buf)-l.start < n {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	for l.end-l.start < n {
		m, err := l.Read(l.buf[l.end:])
		if l.end += m; err != nil {
			return err
		}
	}
	return nil
}

// tcpLinkBytes is what a tcpLink reads ahead at most.
var tcpLinkBytes = 256 << 10

// accepterOf makes the accepter that the first frame of a link asks for.
func accepterOf(t testing.TB, cfg Config, link Link, sock Socket) *Relay {
	t.Helper()
	_, b, err := link.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	open, err := wire.ParseOpen(b)
	if err != nil {
		t.Fatal(err)
	}
	return NewAccepter(cfg, open, func(context.Context) (Socket, error) { return sock, nil })
}

// kernelPair is two relays with kernel sockets, and the programs' ends.
func kernelPair(t testing.TB, running *sync.WaitGroup, cfg Config, nearLink, farLink Link) (nearApp, farApp *net.TCPConn, near, far *Relay, errs chan error) {
	t.Helper()
	nearApp, nearSock := tcpPair(t)
	farApp, farSock := tcpPair(t)
	if cfg.Released == nil {
		cfg.Released = func(Link) {}
	}
	if cfg.Detached == nil {
		cfg.Detached = func(*Relay, error) {}
	}
	errs = make(chan error, 2)
	near = NewOpener(cfg, testOpen, func(context.Context) (Socket, error) { return nearSock, nil })
	running.Go(func() { errs <- near.Run(context.Background(), nearLink) })
	far = accepterOf(t, cfg, farLink, farSock)
	running.Go(func() { errs <- far.Run(context.Background(), farLink) })
	return nearApp, farApp, near, far, errs
}

func TestKernelSockets(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	a, b := newLinks()
	nearApp, farApp, near, _, errs := kernelPair(t, &running, testConfig, a, b)
	data := pattern(1, 8<<20)
	for _, way := range [][2]*net.TCPConn{{nearApp, farApp}, {farApp, nearApp}} {
		running.Go(func() { way[0].Write(data); way[0].CloseWrite() })
		got, err := io.ReadAll(way[1])
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	near.mu.Lock()
	defer near.mu.Unlock()
	if near.users != 0 {
		t.Errorf("%d goroutines on the socket", near.users)
	}
	nearApp.Close()
	farApp.Close()
}

func TestKernelReset(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	a, b := newLinks()
	nearApp, farApp, _, _, errs := kernelPair(t, &running, testConfig, a, b)
	nearApp.Write([]byte("x"))
	io.ReadFull(farApp, make([]byte, 1))
	nearApp.SetLinger(0)
	nearApp.Close()
	farApp.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := farApp.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("other program sees %v", err)
	}
	var e *ResetError
	for range 2 {
		if err := <-errs; !errors.As(err, &e) || e.Code != wire.ResetConnection {
			t.Errorf("relay ended with %v", err)
		}
	}
	farApp.Close()
}

// Programs that read in fits and starts over kernel sockets, and links that are
// replaced all the time while they are well.
func TestKernelSocketsAndReplacedLinks(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	cfg := testConfig
	cfg.BufferBytes, cfg.WindowBytes = 4<<20, 4<<20
	cfg.Released = func(l Link) { l.Close() } // one may not have been used
	a, b := newLinks()
	nearApp, farApp, near, far, errs := kernelPair(t, &running, cfg, a, b)
	size := 12 << 20
	if raceDetector {
		size = 3 << 20
	}
	var programs sync.WaitGroup
	for n, way := range [][2]*net.TCPConn{{nearApp, farApp}, {farApp, nearApp}} {
		data := pattern(uint64(n), size)
		way[1].SetReadBuffer(256 << 10)
		programs.Go(func() { way[0].Write(data); way[0].CloseWrite() })
		programs.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			buf := make([]byte, 256<<10)
			for at := 0; ; {
				n, err := way[1].Read(buf[:1+r.IntN(len(buf))])
				if !bytes.HasPrefix(data[at:], buf[:n]) {
					t.Errorf("wrong bytes at %d", at)
					return
				}
				if at += n; err != nil {
					if err != io.EOF || at != len(data) {
						t.Errorf("%v at %d of %d", err, at, len(data))
					}
					return
				}
				if r.IntN(20) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
			}
		})
	}
	pause := atomic.Int64{}
	pause.Store(int64(300 * time.Microsecond))
	replaced := 0
	var owner sync.WaitGroup
	owner.Go(func() {
		for {
			time.Sleep(time.Duration(pause.Load()))
			l, m := newLinks()
			if !near.Attach(l) {
				return
			}
			replaced++
			running.Go(func() { acceptAgain(far, m) })
		}
	})
	programs.Wait()
	pause.Store(int64(20 * time.Millisecond))
	owner.Wait()
	t.Logf("%d links replaced, near %+v, far %+v", replaced, near.Stats(), far.Stats())
	far.mu.Lock() // it may have missed the last word, and would wait
	far.expired = true
	poke(far.changed)
	far.mu.Unlock()
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	nearApp.Close()
	farApp.Close()
}

// acceptAgain is the far side's owner, for one link of a stream that it knows.
func acceptAgain(far *Relay, link Link) {
	typ, b, err := link.ReadFrame()
	if err != nil {
		return
	}
	if typ == wire.TypeOpen { // its first link was replaced before it was open
		if !far.AttachReopened(link) {
			link.Close()
		}
		return
	}
	if ask, err := wire.ParseResume(b); err != nil || !far.AttachResumed(link, ask) && RefuseResume(link) != nil {
		link.Close()
	}
}
