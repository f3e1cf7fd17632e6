package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/stream"
)

// The model: two real relays, and everything around them one step at a time.
// Nothing moves by itself: what is written to a link is shown to its other end
// when the model says so, in pieces that end anywhere; links die with what is
// under way, or are replaced while they are well; their ends notice one after
// the other; greetings are lost, and overtake each other; programs write, read,
// stop, and sometimes reset.
//
//	program ─ near (opener) ═ links, many at a time ═ far (accepter) ─ program
type model struct {
	r       *rand.Rand
	mu      sync.Mutex // guards the rest; a step has it
	cfg     Config
	ctx     context.Context
	cancel  context.CancelFunc
	near    *Relay
	nearErr error
	ended   bool // near
	far     *Relay
	farErr  error
	fars    int // accepters that run
	forget  bool
	wanted  bool // near waits for a link
	links   []*modelLink
	program [2]*modelProgram // near, far
	dials   []chan error     // far, under way
	calm    int
	clean   bool // nothing but links breaks
	count   modelCount
}

// modelCount is what a run was about.
type modelCount struct {
	steps, streams, whole, deaths, replaced, reopened, resumed, refused, stale int
}

func (c *modelCount) add(d modelCount) {
	c.steps += d.steps
	c.streams++
	c.whole += d.whole
	c.deaths += d.deaths
	c.replaced += d.replaced
	c.reopened += d.reopened
	c.resumed += d.resumed
	c.refused += d.refused
	c.stale += d.stale
}

// modelLink is a link with the far end's state.
type modelLink struct {
	near, far *pipeLink
	accepted  bool
	released  int
}

// modelProgram is one program.
type modelProgram struct {
	socket *pipeSocket // its end
	inner  *pipeSocket // the relay's
	write  []byte      // what it has yet to write
	want   []byte      // what it has yet to read
	closed bool
	gotEnd bool
}

const modelBudget = 6 * 64 << 10

func newModel(seed uint64) *model {
	r := rand.New(rand.NewPCG(seed, 11))
	m := &model{r: r, calm: 1 + r.IntN(1<<r.IntN(7)), clean: r.IntN(4) > 0}
	sizes := []int{100 << 10, 256 << 10, 1 << 20}
	m.cfg = Config{
		BufferBytes: sizes[r.IntN(3)], WindowBytes: sizes[r.IntN(3)], ResumeTimeout: time.Hour,
		Budget: stream.NewBudget(modelBudget),
		Detached: func(relay *Relay, _ error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.wanted = m.wanted || relay.opener
		},
		Released: func(l Link) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, k := range m.links {
				if k.near == l || k.far == l {
					k.released++
				}
			}
		},
	}
	toFar, toNear := pattern(seed, r.IntN(1<<r.IntN(23))), pattern(seed+1, r.IntN(1<<r.IntN(23)))
	m.program[0], m.program[1] = newModelProgram(toFar, toNear), newModelProgram(toNear, toFar)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.near = NewOpener(m.cfg, testOpen, func(context.Context) (Socket, error) { return m.program[0].inner, nil })
	var first Link
	if r.IntN(4) == 0 {
		m.wanted = true
	} else {
		first = m.newLink()
	}
	go func() {
		err := m.near.Run(m.ctx, first)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.nearErr, m.ended = err, true
	}()
	synctest.Wait()
	return m
}

func newModelProgram(write, want []byte) *modelProgram {
	a, b := newSockets()
	return &modelProgram{socket: a, inner: b, write: write, want: want}
}

// newLink makes a link on which nothing is shown yet, and returns the near
// end.
func (m *model) newLink() *pipeLink {
	near, far := newLinks()
	near.in.gated, near.out.gated = true, true
	m.links = append(m.links, &modelLink{near: near, far: far})
	return near
}

// step does one thing at random.
func (m *model) step() error {
	m.count.steps++
	p := m.program[m.r.IntN(2)]
	switch m.r.IntN(12) {
	case 0, 1:
		return m.writes(p)
	case 2, 3:
		return m.reads(p)
	case 4, 5, 6, 7:
		m.deliver(m.r.IntN(64 << 10))
	case 8:
		m.deliver(1 << 20)
	case 9:
		m.trouble()
	case 10:
		if m.r.IntN(4) == 0 {
			m.pass(time.Duration(m.r.IntN(40)) * time.Millisecond)
		}
		m.connects()
	case 11:
		return m.accepts()
	}
	return nil
}

func (m *model) writes(p *modelProgram) error {
	if p.closed {
		return nil
	}
	if len(p.write) == 0 {
		p.closed = true
		p.socket.CloseWrite()
		return nil
	}
	n, err := p.socket.out.tryWrite(p.write[:min(len(p.write), 1+m.r.IntN(1<<m.r.IntN(16)))])
	if err != nil {
		p.closed = true
		return m.broken("write", err)
	}
	p.write = p.write[n:]
	return nil
}

func (m *model) reads(p *modelProgram) error {
	buf := make([]byte, 1+m.r.IntN(32<<10))
	n, err := p.socket.in.tryRead(buf)
	if !bytes.HasPrefix(p.want, buf[:n]) {
		return fmt.Errorf("wrong bytes, %d from the end", len(p.want))
	}
	p.want = p.want[n:]
	switch {
	case err == io.EOF && len(p.want) > 0:
		return fmt.Errorf("end of the stream with %d bytes missing", len(p.want))
	case err == io.EOF:
		p.gotEnd = true
	case err != nil:
		return m.broken("read", err)
	}
	return nil
}

// broken is for what a program must not see unless something was reset.
func (m *model) broken(what string, err error) error {
	if m.clean {
		return fmt.Errorf("program's %s: %w", what, err)
	}
	return nil
}

// deliver shows up to n bytes at one end of a link.
func (m *model) deliver(n int) {
	if len(m.links) == 0 {
		return
	}
	// The newest have the most to say.
	k := m.links[max(0, len(m.links)-1-m.r.IntN(3))]
	if m.r.IntN(6) == 0 {
		k = m.links[m.r.IntN(len(m.links))]
	}
	d := k.near.in
	if m.r.IntN(2) == 0 {
		d = k.near.out
	}
	d.set(func() { d.shown = min(d.shown+n, len(d.buf)-d.off) })
}

// trouble is the chance of something to break, or to be mended.
func (m *model) trouble() {
	if m.wanted && m.r.IntN(3) == 0 {
		m.wanted = false
		m.attach()
		return
	}
	if len(m.links) == 0 || m.r.IntN(m.calm) != 0 {
		return
	}
	k := m.links[len(m.links)-1]
	switch m.r.IntN(8) {
	case 0, 1, 2:
		m.count.deaths++
		k.near.kill(func(n int) int { return m.r.IntN(n + 1) })
	case 3:
		k.near.Close()
	case 4:
		k.far.Close()
	case 5, 6:
		if !m.ended {
			m.count.replaced++
			m.attach()
		}
	case 7:
		m.breaks()
	}
	// Those that are dead are noticed some time.
	for _, k := range m.links {
		if k.near.in.hole && m.r.IntN(2) == 0 {
			k.near.Close()
		}
		if k.near.in.hole && m.r.IntN(2) == 0 {
			k.far.Close()
		}
	}
}

// breaks is a program or an owner that gives up.
func (m *model) breaks() {
	if m.clean {
		return
	}
	switch m.r.IntN(3) {
	case 0:
		m.program[0].socket.abort()
	case 1:
		m.program[1].socket.abort()
	case 2:
		m.cancel()
	}
}

func (m *model) attach() {
	l := m.newLink()
	if !m.near.Attach(l) {
		l.Close()
	}
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	m.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	m.mu.Lock()
}

// run makes steps until both relays have ended and both programs have read
// all.
func (m *model) run() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.done() {
		if m.count.steps > 2_000_000 {
			return errors.New("it does not end")
		}
		if err := m.step(); err != nil {
			return err
		}
		m.mu.Unlock()
		synctest.Wait()
		m.mu.Lock()
		if m.ended && m.count.steps%500 == 0 {
			m.pass(2 * time.Hour) // whoever waits for near waits in vain
		}
	}
	return m.judge()
}

func (m *model) done() bool {
	if !m.ended || m.fars > 0 {
		return false
	}
	return !m.clean || m.program[0].gotEnd && m.program[1].gotEnd
}

func (m *model) judge() error {
	if m.clean {
		if m.nearErr != nil || m.farErr != nil {
			return fmt.Errorf("near ended with %v, far with %v", m.nearErr, m.farErr)
		}
		near, far := m.near.Stats(), m.far.Stats()
		if near.SentBytes != far.ReceivedBytes || far.SentBytes != near.ReceivedBytes || near.Buffered+far.Buffered != 0 {
			return fmt.Errorf("at the end near has %+v, far %+v", near, far)
		}
		m.count.whole++
	}
	if left := m.cfg.Budget.Left(); left != modelBudget {
		return fmt.Errorf("%d bytes of %d in the budget at the end", left, modelBudget)
	}
	for n, k := range m.links {
		if k.released == 2 && !k.near.in.hole && !k.near.empty() {
			return fmt.Errorf("link %d of %d is released, but not clean; near ended with %v, far with %v", n, len(m.links), m.nearErr, m.farErr)
		}
	}
	return nil
}

// stop lets everything end that may still run.
func (m *model) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel()
	for !m.ended || m.fars > 0 {
		for _, k := range m.links {
			k.near.Close()
			k.far.Close()
		}
		m.pass(2 * time.Hour)
	}
	for _, k := range m.links {
		k.near.Close()
		k.far.Close()
	}
}

// modelSteps is how many steps the model makes in all;
// STREAM_MODEL_STEPS=5000000 is for a long look.
func modelSteps(t *testing.T) int {
	if s := os.Getenv("STREAM_MODEL_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("STREAM_MODEL_STEPS: %v", err)
		}
		return n
	}
	if raceDetector || testing.Short() {
		return 120_000
	}
	return 200_000
}

func TestModel(t *testing.T) {
	var all modelCount
	most := modelSteps(t)
	for seed := uint64(0); all.steps < most; seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(seed)
			defer m.stop()
			if err := m.run(); err != nil {
				t.Errorf("seed %d, step %d: %v", seed, m.count.steps, err)
			}
			all.add(m.count)
		})
		if t.Failed() {
			break
		}
	}
	t.Logf("%+v", all)
}
