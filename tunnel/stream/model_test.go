package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// The model: two ends, programs that read and write when they like, and
// carriers that die at any moment with whatever is on them, or are left while
// they are well. The ends notice at different times, and greetings overtake
// each other. What one program writes the other must read, all of it, once,
// and then the end.
//
//	program ─ side a ═ carrier ═ side b ─ program

// frame is what a carrier brings.
type frame struct {
	data   []byte
	fin    bool
	ack    *Ack
	resume *Ack
}

// carrier is two queues; a dead one delivers nothing more.
type carrier struct {
	queues [2][]frame // to side 0, to side 1
	dead   bool
}

// ask is a Resume on its way to side 1.
type ask struct {
	on  *carrier
	ack Ack
}

// side is one end with its program.
type side struct {
	out       *Outbound
	in        *Inbound
	on        *carrier // nil: detached, or waiting for the answer to Resume
	resuming  *carrier
	write     []byte // what the program will have written in all
	written   int
	want      []byte // what it has yet to read
	readEnd   bool
	slowReads bool
}

const (
	modelBuffer = 10 * blockBytes
	modelWindow = 9*blockBytes + 100
	modelBudget = 6 * blockBytes
)

type model struct {
	r        *rand.Rand
	calm     int // one chance of trouble in so many is taken
	now      time.Time
	budget   *Budget
	sides    [2]*side
	asks     []ask
	wrong    error
	deaths   int
	replaced int
	stale    int
}

func newModel(seed uint64) *model {
	m := &model{r: rand.New(rand.NewPCG(seed, 2)), now: time.Unix(1, 0), budget: NewBudget(modelBudget)}
	m.calm = 2 + m.r.IntN(40)
	c := &carrier{}
	for i := range m.sides {
		in := NewInbound(modelWindow, m.budget)
		m.sides[i] = &side{in: in, out: NewOutbound(modelBuffer, in.Ack().Limit, m.budget), on: c}
		m.sides[i].write = noise(m.r.IntN(1<<20), m.r.IntN(20*blockBytes))
		m.sides[i].slowReads = m.r.IntN(3) == 0
	}
	m.sides[0].want, m.sides[1].want = m.sides[1].write, m.sides[0].write
	return m
}

// step does one thing at random.
func (m *model) step() error {
	m.now = m.now.Add(time.Duration(m.r.IntN(10)) * time.Millisecond)
	i := m.r.IntN(2)
	s := m.sides[i]
	switch m.r.IntN(9) {
	case 0:
		m.programWrites(s)
	case 1:
		m.programReads(s)
	case 2, 3:
		m.send(s, i)
	case 4, 5, 6:
		return m.receive(s, i)
	case 7:
		m.trouble(s, i)
	case 8:
		return m.answer()
	}
	return m.wrong
}

func (m *model) programWrites(s *side) {
	if s.written == len(s.write) {
		s.out.CloseWrite()
		return
	}
	n := min(1+m.r.IntN(blockBytes), len(s.write)-s.written)
	s.written += fill(s.out.Buffer, s.write[s.written:s.written+n])
}

// reads is the program taking p.
func (m *model) reads(s *side, p []byte) {
	if !bytes.HasPrefix(s.want, p) {
		m.wrong = errors.New("wrong bytes")
		return
	}
	s.want = s.want[len(p):]
}

func (m *model) programReads(s *side) {
	if s.slowReads && m.r.IntN(4) != 0 {
		return
	}
	p := s.in.Pending()
	p = p[:m.r.IntN(len(p)+1)]
	m.reads(s, p)
	s.in.Consume(len(p))
	s.in.Tune(m.now)
	s.readEnd = s.in.Ended()
}

func (m *model) send(s *side, i int) {
	if s.on == nil {
		return
	}
	q := &s.on.queues[1-i]
	if s.on.dead {
		q = new([]frame) // a sender that has not noticed talks to nobody
	}
	if a, due := s.in.Due(m.r.IntN(4) == 0); due {
		*q = append(*q, frame{ack: &a})
	}
	if s.out.Ready() {
		c := s.out.Next(1 + m.r.IntN(64<<10))
		*q = append(*q, frame{data: bytes.Clone(c.Data), fin: c.Fin})
	}
}

// receive takes the next frame of the carrier that the side listens to. A
// side that waits for an answer listens to the new carrier alone.
func (m *model) receive(s *side, i int) error {
	c := s.on
	if s.resuming != nil {
		c = s.resuming
	}
	if c == nil || len(c.queues[i]) == 0 {
		return nil
	}
	f := c.queues[i][0]
	c.queues[i] = c.queues[i][1:]
	if f.resume != nil {
		s.on, s.resuming = c, nil
		return s.out.Resume(*f.resume)
	}
	if f.ack != nil {
		return s.out.Ack(*f.ack)
	}
	if err := s.in.Data(len(f.data)); err != nil {
		return err
	}
	if direct := m.r.IntN(len(f.data) + 1); !s.in.Waiting() && !s.slowReads {
		m.reads(s, f.data[:direct])
		s.in.Take(direct)
		f.data = f.data[direct:]
	}
	s.in.Keep(f.data)
	s.in.Tune(m.now)
	if f.fin {
		if err := s.in.Fin(); err != nil {
			return err
		}
	}
	s.readEnd = s.in.Ended()
	return nil
}

// trouble lets the carrier die, or one side notice, or side 0, who dials, go
// on on another although the one it has is well.
func (m *model) trouble(s *side, i int) {
	if m.r.IntN(m.calm) != 0 {
		return
	}
	switch {
	case s.on != nil && m.r.IntN(2) == 0:
		m.kill(s.on)
		m.deaths++
	case i != 0:
		if s.on != nil && s.on.dead {
			s.on = nil
		}
	case s.on == nil || s.on.dead || m.r.IntN(4) == 0:
		if s.on != nil && !s.on.dead {
			m.replaced++
			m.kill(s.on)
		}
		if s.resuming != nil {
			m.kill(s.resuming)
		}
		c := &carrier{}
		s.on, s.resuming = nil, c
		m.asks = append(m.asks, ask{c, s.in.Resume()})
	}
}

// kill loses what is on its way, from any point on.
func (m *model) kill(c *carrier) {
	c.dead = true
	for d, q := range c.queues {
		c.queues[d] = q[:m.r.IntN(len(q)+1)]
	}
}

// answer is side 1 hearing one of the asks, not always the oldest.
func (m *model) answer() error {
	if len(m.asks) == 0 || m.r.IntN(4) != 0 {
		return nil
	}
	n := m.r.IntN(len(m.asks))
	a := m.asks[n]
	m.asks = append(m.asks[:n], m.asks[n+1:]...)
	if a.on.dead && m.r.IntN(2) == 0 {
		return nil // it was lost
	}
	s := m.sides[1]
	if s.out.CheckResume(a.ack) != nil {
		if !a.on.dead {
			return errors.New("the newest ask is refused")
		}
		m.stale++
		return nil
	}
	if s.on != nil && !s.on.dead {
		m.kill(s.on)
	}
	if err := s.out.Resume(a.ack); err != nil {
		return fmt.Errorf("checked, but: %w", err)
	}
	s.on = a.on
	answer := s.in.Resume()
	if !s.on.dead {
		s.on.queues[0] = append(s.on.queues[0], frame{resume: &answer})
	}
	return nil
}

func (m *model) done() bool {
	for _, s := range m.sides {
		if !s.out.Done() || !s.readEnd {
			return false
		}
	}
	return true
}

// run returns how many steps it took.
func (m *model) run(most int) (int, error) {
	n := 0
	for ; !m.done(); n++ {
		if n == most {
			return n, fmt.Errorf("not done after %d steps", n)
		}
		if err := m.step(); err != nil {
			return n, fmt.Errorf("step %d: %w", n, err)
		}
	}
	for i, s := range m.sides {
		if len(s.want) > 0 {
			return n, fmt.Errorf("side %d: %d bytes are missing", i, len(s.want))
		}
		s.out.Close()
		s.in.Close()
	}
	if left := m.budget.Left(); left != modelBudget {
		return n, fmt.Errorf("%d bytes of %d in the budget at the end", left, modelBudget)
	}
	return n, nil
}

// modelSteps is how many steps the model makes in all;
// STREAM_MODEL_STEPS=5000000 makes a night's work of it.
func modelSteps(t *testing.T) int {
	if s := os.Getenv("STREAM_MODEL_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("STREAM_MODEL_STEPS: %v", err)
		}
		return n
	}
	if raceDetector || testing.Short() {
		return 100_000
	}
	return 1_000_000
}

func TestStreamSurvivesItsCarriers(t *testing.T) {
	var streams uint64
	var deaths, replaced, stale int
	for left := modelSteps(t); left > 0; streams++ {
		m := newModel(streams)
		n, err := m.run(1_000_000)
		if err != nil {
			t.Fatalf("seed %d: %v", streams, err)
		}
		left -= n
		deaths, replaced, stale = deaths+m.deaths, replaced+m.replaced, stale+m.stale
	}
	t.Logf("%d streams, %d carriers died, %d replaced while well, %d asks overtaken", streams, deaths, replaced, stale)
}

func FuzzStreamModel(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if _, err := newModel(seed).run(1_000_000); err != nil {
			t.Fatal(err)
		}
	})
}
