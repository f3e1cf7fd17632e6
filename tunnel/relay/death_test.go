package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Tests of links that die.

func TestLinksDieAtRandom(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() || raceDetector {
		seeds = 20
	}
	deaths, refused := 0, 0
	for seed := range seeds {
		bubble(t, func(t *testing.T, p *pair) {
			r := rand.New(rand.NewPCG(seed, 3))
			ms := func(n int) func() time.Duration {
				s := rand.New(rand.NewPCG(seed, uint64(n)))
				return func() time.Duration {
					p.mu.Lock()
					defer p.mu.Unlock()
					return time.Duration(s.IntN(n*1000)) * time.Microsecond
				}
			}
			p.resume = ms(50)
			near, far := newLinks()
			p.start(near, far, testConfig)
			stop := make(chan struct{})
			p.running.Go(func() {
				r := rand.New(rand.NewPCG(seed, 4))
				notice, pause := ms(300), ms(1+r.IntN(400))
				for {
					select {
					case <-stop:
						return
					case <-time.After(pause()):
						p.killer(r, notice)
					}
				}
			})
			p.programs(seed, r)
			<-p.nearDone
			close(stop)
			p.waitFar()
			if p.nearErr != nil || p.farErr != nil {
				t.Errorf("seed %d: near ended with %v, far with %v", seed, p.nearErr, p.farErr)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			deaths += p.detached
			refused += p.refusedResumes
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d streams, %d links lost, %d resumes refused", seeds, deaths, refused)
}

// programs write and read in pieces with pauses, and check all.
func (p *pair) programs(seed uint64, r *rand.Rand) {
	done := make(chan struct{}, 4)
	run := func(s *pipeSocket, send, want []byte, seed uint64) {
		pause := func(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(20_000)) * time.Microsecond) }
		p.running.Go(func() {
			defer func() { done <- struct{}{} }()
			r := rand.New(rand.NewPCG(seed, 1))
			for len(send) > 0 {
				n, err := s.Write(send[:min(len(send), 1+r.IntN(60<<10))])
				if err != nil {
					p.t.Errorf("write: %v", err)
					return
				}
				send = send[n:]
				pause(r)
			}
			s.CloseWrite()
		})
		p.running.Go(func() {
			defer func() { done <- struct{}{} }()
			r := rand.New(rand.NewPCG(seed, 2))
			buf := make([]byte, 64<<10)
			for {
				n, err := s.Read(buf[:1+r.IntN(len(buf))])
				if !bytes.HasPrefix(want, buf[:n]) {
					p.t.Error("wrong bytes")
					return
				}
				if want = want[n:]; err == io.EOF && len(want) == 0 {
					return
				}
				if err != nil {
					p.t.Errorf("read: %v, %d bytes missing", err, len(want))
					return
				}
				pause(r)
			}
		})
	}
	toFar, toNear := pattern(seed, r.IntN(1<<20)), pattern(seed+1, r.IntN(1<<20))
	run(p.nearApp, toFar, toNear, seed*2)
	run(p.farApp, toNear, toFar, seed*2+1)
	for range 4 {
		<-done
	}
}

func TestResumeTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.noResume = true
		p.start(near, far, testConfig)
		synctest.Wait()
		p.nearApp.Write([]byte("x"))
		start := time.Now()
		near.Close()
		for _, s := range []*pipeSocket{p.nearApp, p.farApp} {
			if _, err := io.ReadAll(s); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("program sees %v", err)
			}
		}
		if d := time.Since(start); d != testConfig.ResumeTimeout {
			t.Errorf("after %v", d)
		}
	})
}

// The last word of one side is lost with the link: that side is done, and has
// released its end; the other learns it when it asks, or gives up waiting.
func TestLinkLostAtHandBack(t *testing.T) {
	for _, done := range []string{"near", "far"} {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			p.start(near, far, testConfig)
			p.nearApp.Write([]byte("question"))
			p.farApp.Write([]byte("answer"))
			synctest.Wait()
			time.Sleep(time.Second)
			first, second, lost := p.nearApp, p.farApp, near.out
			if done == "far" {
				first, second, lost = p.farApp, p.nearApp, near.in
			}
			first.CloseWrite()
			synctest.Wait()
			time.Sleep(time.Second)
			lost.set(func() { lost.hole = true })
			second.CloseWrite() // its Fin arrives, the Ack does not
			synctest.Wait()
			if len(p.released) != 1 {
				t.Fatalf("%d ends released", len(p.released))
			}
			near.Close()
			far.Close()
			for _, s := range []*pipeSocket{p.nearApp, p.farApp} {
				if _, err := io.ReadAll(s); err != nil {
					t.Errorf("program sees %v", err)
				}
			}
			p.ended(nil, nil)
			synctest.Wait()
			if want := map[string]int{"near": 0, "far": 1}[done]; p.refusedResumes != want {
				t.Errorf("%d resumes refused, want %d", p.refusedResumes, want)
			}
			if done == "far" && len(p.released) != 3 {
				t.Errorf("the link of the refused resume is not used again: %d released", len(p.released))
			}
		})
	}
}

// Both sides have everything, and one has ended; the other has not heard the
// last word, and nobody comes. It keeps no socket and no goroutine but Run.
func TestLastWordLost(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.noResume = true
		p.start(near, far, testConfig)
		synctest.Wait()
		p.farApp.Write(make([]byte, 1000))
		p.nearApp.CloseWrite()
		time.Sleep(time.Second)
		lost(near.out)
		p.farApp.CloseWrite()
		<-p.nearDone
		for _, s := range []*pipeSocket{p.nearApp, p.farApp} {
			if _, err := io.ReadAll(s); err != nil {
				t.Errorf("program sees %v", err)
			}
		}
		start := time.Now()
		far.Close()
		near.Close()
		synctest.Wait()
		p.far.mu.Lock()
		if p.far.socket != nil || p.far.users != 0 || p.far.att != nil || p.far.out.Held() != 0 {
			t.Errorf("far keeps a socket %v, %d goroutines, a link %v, %d bytes", p.far.socket, p.far.users, p.far.att, p.far.out.Held())
		}
		p.far.mu.Unlock()
		if p.farSock.in.rdErr == nil {
			t.Error("the socket is not closed")
		}
		p.waitFar()
		if d := time.Since(start); p.farErr != nil || d != testConfig.ResumeTimeout {
			t.Errorf("far ended with %v after %v", p.farErr, d)
		}
	})
}

// A program's reset reaches the other side also when there is no link at the
// time.
func TestResetWhileDetached(t *testing.T) {
	for _, fromFar := range []bool{false, true} {
		bubble(t, func(t *testing.T, p *pair) {
			near, far := newLinks()
			p.resume = func() time.Duration { return time.Second }
			p.start(near, far, testConfig)
			synctest.Wait()
			near.Close()
			synctest.Wait()
			a, b := p.nearApp, p.farApp
			if fromFar {
				a, b = b, a
			}
			start := time.Now()
			a.abort()
			if _, err := io.ReadAll(b); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("other program sees %v", err)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("from far %v: after %v", fromFar, d)
			}
			<-p.nearDone
			p.waitFar()
			synctest.Wait()
			if len(p.released) != 2 {
				t.Errorf("from far %v: %d ends released", fromFar, len(p.released))
			}
		})
	}
}

// A link that is given before the last is known to be dead takes its place.
func TestLinkReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		p.running.Go(func() {
			for range 5 {
				time.Sleep(3 * time.Millisecond)
				p.resumeOnce()
			}
		})
		p.programs(1, rand.New(rand.NewPCG(1, 1)))
		p.ended(nil, nil)
	})
}

// Everything at once: links die, also while the stream is opened, programs
// reset, owners give up. Whatever happens, both relays end, a program that
// sees the end has everything, and a link that both sides have released is
// clean.
func TestChaos(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() || raceDetector {
		seeds = 60
	}
	whole, resets, reusable, refused := 0, 0, 0, 0
	for seed := range seeds {
		bubble(t, func(t *testing.T, p *pair) {
			r := rand.New(rand.NewPCG(seed, 5))
			ms := func(n int) time.Duration { return time.Duration(r.IntN(n*1000)) * time.Microsecond }
			p.resume = func() time.Duration { return 20 * time.Millisecond }
			toFar, toNear := pattern(seed, r.IntN(300<<10)), pattern(seed+1, r.IntN(300<<10))
			near, far := newLinks()
			p.start(near, far, testConfig)
			if r.IntN(4) > 0 {
				synctest.Wait()
			}
			for i, s := range []*pipeSocket{p.nearApp, p.farApp} {
				send, want := toFar, toNear
				if i == 1 {
					send, want = want, send
				}
				piece, pause := 1+r.IntN(100<<10), ms(20)
				p.running.Go(func() {
					for len(send) > 0 {
						n, err := s.Write(send[:min(piece, len(send))])
						if err != nil {
							return
						}
						send = send[n:]
						time.Sleep(pause)
					}
					s.CloseWrite()
				})
				p.running.Go(func() {
					got, err := io.ReadAll(s)
					if !bytes.HasPrefix(want, got) || err == nil && len(got) != len(want) {
						t.Errorf("seed %d, program %d: %d bytes of %d, %v", seed, i, len(got), len(want), err)
					}
				})
			}
			for range r.IntN(6) {
				time.Sleep(ms(30))
				switch r.IntN(8) {
				case 0:
					p.nearApp.abort()
				case 1:
					p.farApp.abort()
				case 2:
					p.cancel()
				default:
					a, b := ms(100), ms(100)
					p.killer(r, func() time.Duration { a, b = b, a; return a })
				}
			}
			<-p.nearDone
			p.waitFar()
			synctest.Wait()
			if p.nearErr == nil && p.farErr == nil {
				whole++
			} else {
				resets++
			}
			refused += p.refusedResumes
			ends := map[*pipeLink]bool{}
			for _, l := range p.released {
				if l := l.(*pipeLink); ends[l.peer] {
					reusable++
					if l.in.hole {
						continue
					}
					if !l.clean() {
						t.Errorf("seed %d: released, but not clean; near ended with %v, far with %v", seed, p.nearErr, p.farErr)
					}
				} else {
					ends[l] = true
				}
			}
			// A program without a relay waits for one.
			p.nearApp.Close()
			p.farApp.Close()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d whole, %d broken, %d links reusable, %d resumes refused", whole, resets, reusable, refused)
}
