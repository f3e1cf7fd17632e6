package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

func bubble(t *testing.T, f func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		f(t, p)
	})
}

// exchange lets both programs send and checks what the other gets.
func (p *pair) exchange(toFar, toNear []byte) {
	p.t.Helper()
	done := make(chan struct{}, 4)
	send := func(s *pipeSocket, b []byte) {
		defer func() { done <- struct{}{} }()
		if _, err := s.Write(b); err != nil {
			p.t.Errorf("write: %v", err)
		}
		s.CloseWrite()
	}
	check := func(s *pipeSocket, want []byte, name string) {
		defer func() { done <- struct{}{} }()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, want) {
			p.t.Errorf("%s got %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	p.running.Go(func() { send(p.nearApp, toFar) })
	p.running.Go(func() { send(p.farApp, toNear) })
	p.running.Go(func() { check(p.farApp, toFar, "far") })
	p.running.Go(func() { check(p.nearApp, toNear, "near") })
	for range 4 {
		<-done
	}
}

func (p *pair) ended(nearErr, farErr error) {
	p.t.Helper()
	<-p.nearDone
	p.waitFar()
	if !errors.Is(p.nearErr, nearErr) || !errors.Is(p.farErr, farErr) {
		p.t.Errorf("near ended with %v, far with %v", p.nearErr, p.farErr)
	}
}

// reusable checks that both ends were handed back, with nothing under way.
func (p *pair) reusable(near, far *pipeLink) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.released) != 2 || !near.clean() {
		p.t.Errorf("%d ends released, clean %v", len(p.released), near.clean())
	}
}

func TestTransferAndReuse(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		for i := range 3 {
			p.released = nil
			p.start(near, far, testConfig)
			p.exchange(pattern(uint64(i), 3<<20), pattern(9, 1<<20+i))
			p.ended(nil, nil)
			p.reusable(near, far)
		}
	})
}

func TestHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		p.nearApp.Write([]byte("question"))
		p.nearApp.CloseWrite()
		if b, err := io.ReadAll(p.farApp); string(b) != "question" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		time.Sleep(time.Hour) // half open streams have no timeout
		p.farApp.Write([]byte("answer"))
		p.farApp.CloseWrite()
		if b, err := io.ReadAll(p.nearApp); string(b) != "answer" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		p.ended(nil, nil)
		p.reusable(near, far)
	})
}

func TestResetIsPassedOn(t *testing.T) {
	for _, fromFar := range []bool{false, true} {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			p.start(near, far, testConfig)
			synctest.Wait()
			a, b := p.nearApp, p.farApp
			if fromFar {
				a, b = b, a
			}
			a.Write([]byte("x"))
			b.Write(make([]byte, 10<<10))
			a.abort()
			if _, err := io.ReadAll(b); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("other program sees %v", err)
			}
			<-p.nearDone
			p.waitFar()
			var e *ResetError
			if !errors.As(p.nearErr, &e) || e.ByPeer != fromFar || e.Code != wire.ResetConnection {
				t.Errorf("near ended with %v", p.nearErr)
			}
			p.reusable(near, far)
			// The link serves another stream.
			p.start(near, far, testConfig)
			p.exchange(pattern(1, 1<<20), nil)
			p.ended(nil, nil)
		})
	}
}

func TestConnectFails(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.connect = func(context.Context) (Socket, error) { return nil, syscall.ECONNREFUSED }
		p.start(near, far, testConfig)
		<-p.nearDone
		p.waitFar()
		var e *OpenError
		if !errors.As(p.nearErr, &e) || e.Result != wire.OpenRefused {
			t.Errorf("near ended with %v", p.nearErr)
		}
		p.reusable(near, far)
		p.connect = nil
		p.start(near, far, testConfig)
		p.exchange(pattern(1, 1<<20), nil)
		p.ended(nil, nil)
	})
}

func TestGivenUpWhileConnecting(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.connect = func(ctx context.Context) (Socket, error) { <-ctx.Done(); return nil, ctx.Err() }
		p.start(near, far, testConfig)
		synctest.Wait()
		p.near.mu.Lock()
		p.near.resetLocked(wire.ResetShutdown, "given up", false)
		p.near.mu.Unlock()
		<-p.nearDone
		p.waitFar()
		p.reusable(near, far)
	})
}

// A program that does not read stops the other, and not the link: what it
// writes itself is acknowledged all the same.
func TestSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		data := pattern(1, 4<<20)
		p.running.Go(func() { p.farApp.Write(data); p.farApp.CloseWrite() })
		synctest.Wait()
		time.Sleep(time.Second)
		// The near program does not read, and writes without end.
		p.running.Go(func() { p.nearApp.Write(data); p.nearApp.CloseWrite() })
		if got, err := io.ReadAll(p.farApp); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if got, err := io.ReadAll(p.nearApp); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		p.ended(nil, nil)
		p.reusable(near, far)
	})
}

// Idle streams hold nothing, and what came is acknowledged.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		synctest.Wait()
		p.nearApp.Write(make([]byte, 100))
		io.ReadFull(p.farApp, make([]byte, 100))
		time.Sleep(time.Second)
		p.near.mu.Lock()
		held := p.near.out.Held()
		p.near.mu.Unlock()
		if held != 0 {
			t.Errorf("%d bytes are not acknowledged", held)
		}
	})
}

// The end of ctx tells the peer, and the link stays good.
func TestGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		synctest.Wait()
		p.nearApp.Write([]byte("x"))
		p.cancel()
		<-p.nearDone
		p.waitFar()
		var e *ResetError
		if !errors.As(p.nearErr, &e) || e.Code != wire.ResetShutdown {
			t.Errorf("near ended with %v", p.nearErr)
		}
		p.reusable(near, far)
	})
}

// A peer that neither reads nor answers does not hold up the end.
func TestGivenUpOnADeadLink(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		synctest.Wait()
		near.kill(func(int) int { return 0 })
		start := time.Now()
		p.cancel()
		<-p.nearDone
		p.waitFar()
		if d := time.Since(start); d > shutdownTimeout {
			t.Errorf("after %v", d)
		}
	})
}

func TestMalformedEndsTheLinkOnly(t *testing.T) {
	bad := [][]byte{
		{0x77, 0, 0, 1, 0},
		{byte(wire.TypeAck), 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80},
		wire.AppendPing(nil, wire.Ping{}),
		wire.Opened{}.Append(nil),
		wire.AppendResumed(nil, wire.StreamAck{}),
	}
	for _, b := range bad {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			p.start(near, far, testConfig)
			synctest.Wait()
			near.WriteFrames(b)
			synctest.Wait()
			p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
			p.ended(nil, nil)
			if p.detached == 0 {
				t.Errorf("% x: link was kept", b)
			}
		})
	}
}

// A peer that breaks the rules of the stream has the stream reset.
func TestRulesOfTheStream(t *testing.T) {
	bad := [][]byte{
		wire.AppendAck(nil, wire.StreamAck{Received: 1, Limit: 1 << 40}),
		wire.AppendAck(nil, wire.StreamAck{Limit: 1}),
		wire.AppendAck(nil, wire.StreamAck{Limit: 1 << 40, Fin: true}),
		bytes.Repeat(wire.AppendData(nil, make([]byte, wire.MaxDataLen)), 3),
		wire.AppendData(wire.AppendFin(nil), []byte("x")),
	}
	for i, b := range bad {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			p.start(near, far, testConfig)
			synctest.Wait()
			near.WriteFrames(b)
			p.waitFar()
			var e *ResetError
			if !errors.As(p.farErr, &e) || e.Code != wire.ResetProtocol {
				t.Errorf("%d: far ended with %v", i, p.farErr)
			}
		})
	}
}
