package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
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

// kernelPair is two relays with kernel sockets, and the programs' ends.
func kernelPair(t testing.TB, running *sync.WaitGroup, cfg Config) (nearApp, farApp *net.TCPConn, near, far *Relay, errs chan error) {
	t.Helper()
	nearApp, nearSock := tcpPair(t)
	farApp, farSock := tcpPair(t)
	nearLink, farLink := newLinks()
	cfg.Released, cfg.Detached = func(Link) {}, func(*Relay, error) {}
	open := wire.Open{
		Source: netip.MustParseAddrPort("10.77.0.2:1"), Destination: netip.MustParseAddrPort("192.0.2.7:443"),
	}
	errs = make(chan error, 2)
	near = NewOpener(cfg, open, func(context.Context) (Socket, error) { return nearSock, nil })
	running.Go(func() { errs <- near.Run(context.Background(), nearLink) })
	_, b, err := farLink.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if open, err = wire.ParseOpen(b); err != nil {
		t.Fatal(err)
	}
	far = NewAccepter(cfg, open, func(context.Context) (Socket, error) { return farSock, nil })
	running.Go(func() { errs <- far.Run(context.Background(), farLink) })
	return nearApp, farApp, near, far, errs
}

func TestKernelSockets(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	nearApp, farApp, near, _, errs := kernelPair(t, &running, testConfig)
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
	nearApp, farApp, _, _, errs := kernelPair(t, &running, testConfig)
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

// 64 KiB from socket to link to socket.
func BenchmarkRelay(b *testing.B) {
	var running sync.WaitGroup
	defer running.Wait()
	cfg := testConfig
	cfg.BufferBytes, cfg.WindowBytes = 4<<20, 4<<20
	nearApp, farApp, _, _, _ := kernelPair(b, &running, cfg)
	defer farApp.Close()
	defer nearApp.Close()
	p := make([]byte, 64<<10)
	const warm = 500 // blocks and batches come from pools
	move := func(n int) {
		var writer sync.WaitGroup
		writer.Go(func() {
			for range n {
				nearApp.Write(p)
			}
		})
		io.CopyN(discard{}, farApp, int64(n)*int64(len(p)))
		writer.Wait()
	}
	move(warm)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	b.ResetTimer()
	move(b.N)
}

// discard is io.Discard without ReadFrom, which would take another path.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
