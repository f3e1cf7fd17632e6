package relay

import (
	"net"
	"sync"
	"syscall"
	"testing"

	"braid/tunnel/wire"
)

// rawNothing is a socket's raw connection that takes nothing.
type rawNothing struct{}

func (rawNothing) Control(func(uintptr)) error    { return nil }
func (rawNothing) Read(func(uintptr) bool) error  { return nil }
func (rawNothing) Write(func(uintptr) bool) error { return nil }

type rawSocket struct{ net.Conn }

func (rawSocket) CloseWrite() error                     { return nil }
func (rawSocket) Close() error                          { return nil }
func (rawSocket) SyscallConn() (syscall.RawConn, error) { return rawNothing{}, nil }

// The socket may be closed while data is on its way into it.
func TestSocketClosedWhileDataIsGiven(t *testing.T) {
	for range 5000 {
		r := NewAccepter(testConfig, wire.Open{}, nil)
		r.socket, r.sink, r.users = rawSocket{}, newSink(rawSocket{}), 2
		var both sync.WaitGroup
		both.Go(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.dataLocked([]byte("x"))
		})
		both.Go(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.resetLocked(wire.ResetConnection, "", false)
			r.closeSocketLocked()
		})
		both.Wait()
		if r.sink != nil || r.socket != nil {
			t.Fatal("socket is kept")
		}
	}
}
