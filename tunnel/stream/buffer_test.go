package stream

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// fill puts p into b, as far as there is room, and returns how much.
func fill(b *Buffer, p []byte) int {
	n := 0
	for n < len(p) {
		s := b.Space()
		if len(s) == 0 {
			break
		}
		k := copy(s, p[n:])
		b.Commit(k)
		n += k
	}
	return n
}

func TestBufferLimit(t *testing.T) {
	b := NewBuffer(3 * blockBytes)
	if n := fill(b, make([]byte, 10*blockBytes)); n != 3*blockBytes {
		t.Fatalf("took %d bytes, limit %d", n, 3*blockBytes)
	}
	b.Advance(len(b.Unsent(blockBytes)))
	if b.Space() != nil {
		t.Error("room without an acknowledgement")
	}
	if !b.Ack(blockBytes) || b.Held() != 2*blockBytes || len(b.Space()) != blockBytes {
		t.Errorf("held %d after one block was acknowledged", b.Held())
	}
	b.Close()
	if len(b.blocks) != 0 {
		t.Error("memory kept after Close")
	}
}

func TestBufferHoldsNothingWhenIdle(t *testing.T) {
	b := NewBuffer(1 << 20)
	fill(b, make([]byte, 1000))
	b.Advance(1000)
	b.Ack(1000)
	if len(b.blocks) != 0 {
		t.Error("an acknowledged buffer holds memory")
	}
	b.Space()
	b.Commit(0) // the socket had nothing after all
	if len(b.blocks) != 0 {
		t.Error("a buffer that was only asked for room holds memory")
	}
}

// Space is read into without a lock; an acknowledgement that comes meanwhile
// must not take it away.
func TestBufferKeepsSpaceUntilCommit(t *testing.T) {
	b := NewBuffer(1 << 20)
	for _, held := range []int{1000, blockBytes, 0} {
		fill(b, make([]byte, held))
		b.Advance(len(b.Unsent(blockBytes)))
		space := b.Space()
		if !b.Ack(b.Sent()) {
			t.Fatal("acknowledgement refused")
		}
		n := copy(space, "hello")
		b.Commit(n)
		if got := b.Unsent(blockBytes); string(got) != "hello" {
			t.Fatalf("after %d bytes: %q", held, got)
		}
		b.Advance(n)
		b.Ack(b.Sent())
		if len(b.blocks) != 0 {
			t.Errorf("after %d bytes: memory kept", held)
		}
	}
}

func TestBufferRefusesWhatCannotBe(t *testing.T) {
	b := NewBuffer(1 << 20)
	fill(b, make([]byte, 1000))
	b.Advance(500)
	if b.Ack(501) || b.Rewind(501) {
		t.Error("acknowledged what was not sent")
	}
	if !b.Ack(300) || b.Ack(299) || b.Rewind(299) {
		t.Error("took back an acknowledgement")
	}
	if !b.Rewind(400) || b.Sent() != 400 || b.Acked() != 400 {
		t.Errorf("rewound to %d, %d", b.Acked(), b.Sent())
	}
	if !b.Rewind(450) || b.Sent() != 450 || b.MostSent() != 500 {
		t.Errorf("rewound to %d, most %d: what was sent on an earlier carrier counts", b.Sent(), b.MostSent())
	}
}

// The buffer against a plain slice, at random.
func TestBufferModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := NewBuffer(4 * blockBytes)
		var all []byte // of the stream so far
		for range 1000 {
			switch r.IntN(4) {
			case 0:
				p := noise(r.IntN(1<<20), r.IntN(2*blockBytes))
				all = append(all, p[:fill(b, p)]...)
			case 1:
				p := b.Unsent(1 + r.IntN(blockBytes))
				if at := b.Sent(); !bytes.Equal(p, all[at:at+uint64(len(p))]) || len(p) == 0 && at != b.End() {
					t.Fatalf("seed %d: wrong bytes at %d", seed, at)
				}
				b.Advance(len(p))
			case 2:
				if !b.Ack(b.Acked() + r.Uint64N(b.Sent()-b.Acked()+1)) {
					t.Fatalf("seed %d: acknowledgement refused", seed)
				}
			case 3:
				if r.IntN(10) == 0 && !b.Rewind(b.Acked()+r.Uint64N(b.MostSent()-b.Acked()+1)) {
					t.Fatalf("seed %d: rewind refused", seed)
				}
			}
			if b.End() != uint64(len(all)) || b.Held() > 4*blockBytes || len(b.blocks) > 5 {
				t.Fatalf("seed %d: end %d of %d, %d bytes held in %d blocks", seed, b.End(), len(all), b.Held(), len(b.blocks))
			}
		}
	}
}

func TestBufferDoesNotAllocate(t *testing.T) {
	b := NewBuffer(1 << 20)
	p := make([]byte, 100_000)
	turn := func() {
		fill(b, p)
		for b.Sent() < b.End() {
			b.Advance(len(b.Unsent(16 << 10)))
		}
		b.Ack(b.Sent() - 10)
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n >= 1 {
		t.Errorf("%v allocations for each 100 KB", n)
	}
}

var noiseTable = func() []byte {
	r := rand.New(rand.NewPCG(1, 7))
	b := make([]byte, 4<<20)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

// noise returns n random bytes, at most 3 MiB, the same for the same start
// below 1 MiB. They are not to be written to.
func noise(start, n int) []byte { return noiseTable[start : start+n] }
