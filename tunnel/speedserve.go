package tunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"braid/tunnel/wire"
)

// The server's part in a client's speed test (speedtest.go has the other): it
// sends bytes that mean nothing, or takes such, on the carrier on which it was
// asked, and says how many they were. All of it goes between a client that has
// proved its key and this server, through the client's own carriers: nobody else
// can be made to send or to receive.

const (
	// testsAtOnce leaves room for one whose carrier is not known to be gone yet.
	testsAtOnce = 2
	// A test of a client's sixteen uplinks is 34 measurements of a second or more.
	testEvery  = time.Second
	testsBurst = 40
	// testLinger is how long a client may take, after a test's time is over, to end
	// its carrier.
	testLinger = 10 * time.Second
	// tallyEvery is how often the server says how far it is.
	tallyEvery = 100 * time.Millisecond
)

// testGate bounds the speed tests of one client.
type testGate struct {
	pace *rate.Limiter

	mu      sync.Mutex // guards what follows
	running int
}

func newTestGate() *testGate {
	return &testGate{pace: rate.NewLimiter(rate.Every(testEvery), testsBurst)}
}

// enter lets a test begin, which leave must follow, or returns why not.
func (g *testGate) enter() (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.running >= testsAtOnce:
		return "the server is busy with another speed test of this client"
	case !g.pace.Allow():
		return "too many speed tests of this client in a short time: wait a minute"
	}
	g.running++
	return ""
}

func (g *testGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
}

const testsForbidden = "the server's configuration forbids speed tests (limits.speedtest)"

// errTested ends a carrier that has served for a speed test, which is its last use.
var errTested = errors.New("the speed test is over")

// test takes part in a speed test on a link on which the peer opens streams. The
// link is to be closed then; the error is never nil.
func (l *lane) test(k *link, t wire.Test) error {
	if l.tests == nil {
		return fmt.Errorf("%w frame order: a test where none can be", wire.ErrMalformed)
	}
	refusal := testsForbidden
	if l.bounds.Load().Speedtest {
		refusal = l.tests.enter()
	}
	if refusal != "" {
		return l.refuseTest(k, refusal)
	}
	defer l.tests.leave()
	k.trial.Store(true)
	r := &testRun{link: k, began: time.Now(), over: make(chan struct{})}
	// A client that has gone, or does not read, must not hold this up.
	last := time.AfterFunc(t.For+testLinger, func() { k.Close() })
	defer last.Stop()
	if err := r.say(); err != nil { // the client may begin
		return err
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(r.over)
	if t.Up {
		writer.Go(r.tell)
	} else {
		writer.Go(func() { r.send(t.For) })
	}
	defer k.Close() // or the writer may wait for ever
	return r.read(t.Up)
}

// refuseTest says why, and waits for the client to hang up: closing at once could
// take the word with it.
func (l *lane) refuseTest(k *link, why string) error {
	if err := k.WriteFrames(wire.AppendReset(nil, wire.ResetRefused, why)); err != nil {
		return err
	}
	last := time.AfterFunc(testLinger, func() { k.Close() })
	defer last.Stop()
	return (&testRun{link: k}).read(false)
}

// testRun is one test at the server.
type testRun struct {
	link  *link
	began time.Time
	over  chan struct{} // closed when it is

	bytes atomic.Uint64
	at    atomic.Int64 // when the last of them came or went, nanoseconds since began
}

// count notes bytes.
func (r *testRun) count(n int) {
	r.bytes.Add(uint64(n))
	r.at.Store(int64(time.Since(r.began)))
}

// read takes frames until the client hangs up or breaks the rules.
func (r *testRun) read(data bool) error {
	ended := false
	for {
		typ, p, err := r.link.ReadFrame()
		switch {
		case errors.Is(err, wire.ErrMalformed):
			return err
		case err != nil:
			return errTested
		case typ == wire.TypeData && data && !ended:
			r.count(len(p))
		case typ == wire.TypeFin && data && !ended:
			ended = true
		default:
			return fmt.Errorf("%w frame order: %v in a speed test", wire.ErrMalformed, typ)
		}
	}
}

// send sends for a time, and then Fin. Who reads sees the errors, too.
func (r *testRun) send(length time.Duration) {
	told := r.began
	for b := newBlast(); time.Since(r.began) < length; {
		frames := b.next()
		if r.link.WriteFrames(frames) != nil {
			return
		}
		r.count(len(frames) / blastFrame * blastBytes)
		if time.Since(told) >= tallyEvery {
			told = time.Now()
			if r.say() != nil {
				return
			}
		}
	}
	if r.say() == nil {
		_ = r.link.WriteFrames(wire.AppendFin(nil))
	}
}

// tell says now and then how much has come.
func (r *testRun) tell() {
	t := time.NewTicker(tallyEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if r.say() != nil {
				return
			}
		case <-r.over:
			return
		}
	}
}

func (r *testRun) say() error {
	// The count is read first, so that it is not of later than its time.
	y := wire.Tally{Bytes: r.bytes.Load(), At: time.Duration(r.at.Load())}
	if list, err := r.link.conn.AppendSubflows(nil); err == nil {
		for _, f := range list {
			y.Segments += f.TxSegments
			y.Again += f.Retransmission
		}
	}
	return r.link.WriteFrames(y.Append(nil))
}

// blast is what both ends send in a speed test: Data frames whose bytes cannot be
// compressed on the way.
type blast struct{ frames int }

const (
	// blastBytes of each frame are few, so that a slow uplink's rate shows.
	blastBytes = 8 << 10
	blastFrame = wire.HeaderLen + blastBytes
	// blastMost frames are written at once: as much as a stream does.
	blastMost = 32
)

var blastFrames = sync.OnceValue(func() []byte {
	data := make([]byte, blastBytes)
	rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	var b []byte
	for range blastMost {
		b = wire.AppendData(b, data)
	}
	return b
})

func newBlast() *blast { return &blast{} }

// next is what to write now: little at first, as on any cold link, then as much as
// all before.
func (b *blast) next() []byte {
	n := max(1, min(b.frames, blastMost))
	b.frames += n
	return blastFrames()[:n*blastFrame]
}
