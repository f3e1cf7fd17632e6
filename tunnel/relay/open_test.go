package relay

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// Tests of streams whose links die before they are open.

// gate is a Connect that waits until the test lets it go.
func gate(p *pair) (let func(error)) {
	c := make(chan error, 1)
	p.connect = func(ctx context.Context) (Socket, error) {
		select {
		case err := <-c:
			return p.farSock, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func(err error) { c <- err }
}

// lost lets everything vanish that one end of a link says from now on.
func lost(d *lane) { d.set(func() { d.hole = true }) }

func (p *pair) wantAccepted(n int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted != n {
		p.t.Errorf("%d accepters, want %d", p.accepted, n)
	}
}

// The link dies while the far side connects, and each end hears of it first,
// and connecting ends before or after the next link is there.
func TestLinkLostWhileConnecting(t *testing.T) {
	for n := range 8 {
		bubble(t, func(t *testing.T, p *pair) {
			nearFirst, connectFirst, manyLinks := n&1 > 0, n&2 > 0, n&4 > 0
			near, far := newLinks()
			let := gate(p)
			p.start(near, far, testConfig)
			synctest.Wait()
			lost(near.in)
			lost(near.out)
			first, second := near, far
			if !nearFirst {
				first, second = far, near
			}
			if connectFirst {
				let(nil)
			}
			first.Close()
			time.Sleep(time.Second)
			if manyLinks {
				for range 3 {
					p.mu.Lock()
					l := p.link
					p.mu.Unlock()
					l.Close()
					time.Sleep(time.Second)
				}
			}
			if !connectFirst {
				let(nil)
			}
			time.Sleep(time.Second)
			second.Close()
			p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
			p.ended(nil, nil)
			p.wantAccepted(1)
		})
	}
}

// The far side has said that it is connected, and has sent what its program
// says first; all of it is lost.
func TestOpenedLost(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		lost(near.in)
		synctest.Wait()
		banner := pattern(1, 100<<10)
		p.running.Go(func() { p.farApp.Write(banner) })
		time.Sleep(time.Second)
		if st := p.far.Stats(); st.SentBytes != 100<<10 || st.Open {
			t.Errorf("far: %+v", st)
		}
		near.Close()
		time.Sleep(time.Second)
		far.Close()
		got := make([]byte, len(banner))
		if _, err := io.ReadFull(p.nearApp, got); err != nil || string(got) != string(banner) {
			t.Errorf("wrong banner, %v", err)
		}
		p.exchange(pattern(3, 1<<20), pattern(4, 1<<20))
		p.ended(nil, nil)
		p.wantAccepted(1)
	})
}

// A refusal that is lost is found out again.
func TestRefusalLost(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		let := gate(p)
		p.start(near, far, testConfig)
		synctest.Wait()
		lost(near.in)
		let(syscall.ECONNREFUSED)
		synctest.Wait()
		near.Close()
		far.Close()
		time.Sleep(time.Second)
		let(syscall.ECONNREFUSED)
		<-p.nearDone
		var e *OpenError
		if !errors.As(p.nearErr, &e) || e.Result != wire.OpenRefused {
			t.Errorf("near ended with %v", p.nearErr)
		}
		p.waitFar()
		p.wantAccepted(2)
	})
}

// A refusal that is found out without a link is said on the next one, if that
// is there already.
func TestRefusedWhileReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		let := gate(p)
		p.start(near, far, testConfig)
		synctest.Wait()
		p.running.Go(p.resumeOnce)
		time.Sleep(time.Second)
		let(syscall.EHOSTUNREACH)
		<-p.nearDone
		p.waitFar()
		var e *OpenError
		if !errors.As(p.nearErr, &e) || e.Result != wire.OpenHostUnreachable {
			t.Errorf("near ended with %v", p.nearErr)
		}
		p.wantAccepted(1)
	})
}

// The opener's program gives up while the stream has no link: the opener ends
// at once, the accepter when nobody has come for it.
func TestGivenUpBeforeOpen(t *testing.T) {
	for _, connected := range []bool{false, true} {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			let := gate(p)
			p.noResume = true
			p.start(near, far, testConfig)
			synctest.Wait()
			start := time.Now()
			near.Close()
			if connected {
				let(nil)
			}
			synctest.Wait()
			p.near.mu.Lock()
			p.near.giveUpLocked()
			p.near.mu.Unlock()
			<-p.nearDone
			var e *ResetError
			if d := time.Since(start); d != 0 || !errors.As(p.nearErr, &e) || e.Code != wire.ResetShutdown {
				t.Errorf("near ended after %v with %v", d, p.nearErr)
			}
			p.waitFar()
			if d := time.Since(start); d != testConfig.ResumeTimeout || !errors.As(p.farErr, &e) || e.Code != wire.ResetTimedOut {
				t.Errorf("far ended after %v with %v", d, p.farErr)
			}
			if connected {
				if _, err := p.farApp.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("far program sees %v", err)
				}
			}
		})
	}
}

func TestNoLinkInTime(t *testing.T) {
	for _, first := range []bool{false, true} {
		bubble(t, func(t *testing.T, p *pair) {
			p.noResume = true
			start := time.Now()
			if first {
				near, far := newLinks()
				gate(p)
				p.start(near, far, testConfig)
				synctest.Wait()
				near.Close()
			} else {
				p.start(nil, nil, testConfig)
			}
			<-p.nearDone
			var e *OpenError
			if d := time.Since(start); d != testConfig.ResumeTimeout || !errors.As(p.nearErr, &e) || e.Result != wire.OpenTimedOut {
				t.Errorf("after %v with %v", d, p.nearErr)
			}
			if !first && p.detached != 0 {
				t.Error("Detached is called for a link that never was")
			}
		})
	}
}

// An opener may begin without a link.
func TestOpenWithoutLink(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		p.start(nil, nil, testConfig)
		time.Sleep(testConfig.ResumeTimeout / 2)
		if st := p.near.Stats(); !st.Detached || st.Open || p.near.Link() != nil || p.detached != 0 {
			t.Errorf("%+v, link %v, Detached called %d times", st, p.near.Link(), p.detached)
		}
		p.resumeOnce()
		synctest.Wait()
		if st := p.near.Stats(); st.Detached || !st.Open || p.near.Link() != Link(p.link) {
			t.Errorf("%+v, link %v", st, p.near.Link())
		}
		time.Sleep(testConfig.ResumeTimeout) // what is open has no timeout
		p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
		p.ended(nil, nil)
		p.wantAccepted(1)
	})
	bubble(t, func(t *testing.T, p *pair) {
		p.start(nil, nil, testConfig)
		synctest.Wait()
		p.cancel()
		<-p.nearDone
		var e *ResetError
		if !errors.As(p.nearErr, &e) || e.Code != wire.ResetShutdown {
			t.Errorf("near ended with %v", p.nearErr)
		}
	})
}

// Greetings that come late, on links that the opener has left, cost nothing
// but themselves once the stream is open; and the side that opens a stream is
// never asked for it.
func TestOvertakenGreetings(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		synctest.Wait()
		p.nearApp.Write([]byte("x"))
		p.arrival(1)
		time.Sleep(time.Second)
		old := []wire.Resume{
			{Ack: wire.StreamAck{Limit: 1 << 30}},               // takes back nothing: it may be true
			{Ack: wire.StreamAck{Limit: 1}},                     // takes back room
			{Ack: wire.StreamAck{Received: 99, Limit: 1 << 30}}, // another stream's
		}
		taken := func(f func(Link) bool) (bool, bool) {
			_, l := newLinks()
			ok := f(l)
			l.in.mu.Lock()
			defer l.in.mu.Unlock()
			return ok, l.in.rdErr != nil
		}
		for _, tt := range []struct {
			name       string
			f          func(Link) bool
			ok, closed bool
		}{
			{"open again", p.far.AttachReopened, true, true},
			{"room taken back", func(l Link) bool { return p.far.AttachResumed(l, old[1]) }, true, true},
			{"never sent", func(l Link) bool { return p.far.AttachResumed(l, old[2]) }, false, false},
			{"opener resumed", func(l Link) bool { return p.near.AttachResumed(l, old[0]) }, false, false},
			{"opener reopened", p.near.AttachReopened, true, true},
			{"accepter attached", p.far.Attach, false, false},
		} {
			if ok, closed := taken(tt.f); ok != tt.ok || closed != tt.closed {
				t.Errorf("%s: %v, closed %v", tt.name, ok, closed)
			}
		}
		synctest.Wait()
		if p.far.Link() != Link(far) || p.detached != 0 {
			t.Error("the stream has lost its link")
		}
		p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
		p.ended(nil, nil)
	})
}

// The peer resumes what is not open yet.
func TestResumedBeforeOpen(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		let := gate(p)
		p.start(near, far, testConfig)
		synctest.Wait()
		_, l := newLinks()
		if !p.far.AttachResumed(l, wire.Resume{Ack: wire.StreamAck{Limit: 1 << 30}}) {
			t.Error("the link is not taken")
		}
		if l.in.rdErr == nil {
			t.Error("the link is not closed")
		}
		let(nil)
		p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
		p.ended(nil, nil)
	})
}

// An Open on a link that the opener has left comes behind the one on its next
// link, while the stream is not known to be open.
func TestOldOpenComesLast(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		oldNear, oldFar := newLinks()
		let := gate(p)
		p.start(oldNear, nil, testConfig)
		synctest.Wait()
		near, far := newLinks()
		p.near.Attach(near)
		p.accept(far)
		synctest.Wait()
		p.accept(oldFar) // the accepter moves there, and finds it closed
		let(nil)
		p.exchange(pattern(1, 1<<20), pattern(2, 1<<20))
		p.ended(nil, nil)
		p.wantAccepted(1)
	})
}

// An accepter that was refused does not wait for ever for a peer that does
// not let go of the link.
func TestRefusalIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		let := gate(p)
		p.noResume = true
		p.start(near, far, testConfig)
		synctest.Wait()
		lost(near.in)
		start := time.Now()
		let(syscall.ECONNREFUSED)
		p.waitFar()
		if d := time.Since(start); d != lingerTimeout {
			t.Errorf("after %v", d)
		}
	})
}
