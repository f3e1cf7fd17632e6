package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The model: two ends, programs that read and write when they like, and
// carriers that die at any moment with whatever is on them. The ends notice at
// different times. What one program writes the other must read, all of it,
// once, and then the end.
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

// side is one end with its program.
type side struct {
	out       *Outbound
	in        *Inbound
	on        *carrier // nil: detached, or waiting for the answer to Resume
	resuming  *carrier
	write     []byte // what the program will have written in all
	written   int
	read      []byte
	readEnd   bool
	slowReads bool
}

const (
	modelBuffer = 2 * blockBytes
	modelWindow = 3 * blockBytes / 2
)

type model struct {
	r        *rand.Rand
	sides    [2]*side
	carriers int
	deaths   int
}

func newModel(seed uint64) *model {
	m := &model{r: rand.New(rand.NewPCG(seed, 2))}
	c := &carrier{}
	for i := range m.sides {
		s := &side{out: NewOutbound(modelBuffer, modelWindow), in: NewInbound(modelWindow), on: c}
		s.write = make([]byte, m.r.IntN(20*blockBytes))
		for j := range s.write {
			s.write[j] = byte(m.r.Uint32())
		}
		s.slowReads = m.r.IntN(3) == 0
		m.sides[i] = s
	}
	return m
}

// step does one thing at random.
func (m *model) step() error {
	i := m.r.IntN(2)
	s := m.sides[i]
	switch m.r.IntN(8) {
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
	}
	return nil
}

func (m *model) programWrites(s *side) {
	if s.written == len(s.write) {
		s.out.CloseWrite()
		return
	}
	n := min(1+m.r.IntN(blockBytes), len(s.write)-s.written)
	s.written += fill(s.out.Buffer, s.write[s.written:s.written+n])
}

func (m *model) programReads(s *side) {
	if s.slowReads && m.r.IntN(4) != 0 {
		return
	}
	p := s.in.Pending()
	p = p[:m.r.IntN(len(p)+1)]
	s.read = append(s.read, p...)
	s.in.Consume(len(p))
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
		c := s.out.Next(1 + m.r.IntN(16<<10))
		*q = append(*q, frame{data: bytes.Clone(c.Data), fin: c.Fin})
	}
}

// receive takes the next frame of the carrier that the side listens to. A
// side that waits for an answer listens to the new carrier alone; a side that
// does not hears a Resume on any new one.
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
		s.read = append(s.read, f.data[:direct]...)
		s.in.Take(direct)
		f.data = f.data[direct:]
	}
	s.in.Keep(f.data)
	if f.fin {
		if err := s.in.Fin(); err != nil {
			return err
		}
	}
	s.readEnd = s.in.Ended()
	return nil
}

// trouble lets the carrier die, or one side notice and resume on another. The
// other side hears of it there, and answers, whatever it knew before.
func (m *model) trouble(s *side, i int) {
	if m.r.IntN(20) != 0 {
		return
	}
	switch {
	case s.on != nil && m.r.IntN(2) == 0:
		s.on.dead = true
		// What is on its way may be lost, from any point on.
		for d := range s.on.queues {
			q := s.on.queues[d]
			s.on.queues[d] = q[:m.r.IntN(len(q)+1)]
		}
		m.deaths++
	case s.on == nil || s.on.dead:
		if i != 0 {
			s.on = nil // side 1 notices; side 0 is who dials
			return
		}
		m.resume()
	}
}

// resume is side 0 dialling a new carrier. Side 1 answers at once when the
// Resume gets there; the carrier may die before, between and after.
func (m *model) resume() {
	a, b := m.sides[0], m.sides[1]
	c := &carrier{}
	m.carriers++
	a.on = nil
	a.resuming = c
	if m.r.IntN(4) == 0 {
		a.resuming = nil // it died on the way
		return
	}
	ask := a.in.Resume()
	if err := b.out.Resume(ask); err != nil {
		panic(err)
	}
	answer := b.in.Resume()
	b.on, b.resuming = c, nil
	if m.r.IntN(4) == 0 {
		a.resuming = nil // the answer is lost, and side 1 does not know
		return
	}
	c.queues[0] = append(c.queues[0], frame{resume: &answer})
}

func (m *model) done() bool {
	for _, s := range m.sides {
		if !s.out.Done() || !s.readEnd {
			return false
		}
	}
	return true
}

func (m *model) run(steps int) error {
	for n := range steps {
		if err := m.step(); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
		if m.done() {
			break
		}
	}
	if !m.done() {
		return fmt.Errorf("not done after %d steps", steps)
	}
	for i, s := range m.sides {
		if other := m.sides[1-i]; !bytes.Equal(s.read, other.write) {
			return fmt.Errorf("side %d read %d bytes, not the %d that were written", i, len(s.read), len(other.write))
		}
	}
	return nil
}

func TestStreamSurvivesItsCarriers(t *testing.T) {
	runs := uint64(60)
	if testing.Short() {
		runs = 10
	}
	deaths, carriers := 0, 0
	for seed := range runs {
		m := newModel(seed)
		if err := m.run(1_000_000); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		deaths += m.deaths
		carriers += m.carriers
	}
	t.Logf("%d streams, %d deaths of carriers, %d resumes", runs, deaths, carriers)
}

func FuzzStreamModel(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := newModel(seed).run(1_000_000); err != nil {
			t.Fatal(err)
		}
	})
}
