package tunnel

import (
	"math/rand/v2"
	"testing"
)

// However a stream of records is cut, the rest is that of the last record.
func TestRecordRest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	rest := map[int]int{0: 0} // by offset
	for range 200 {
		n := random.IntN(200)
		if random.IntN(10) == 0 {
			n = 16384 + 256
		}
		for range recordHeaderLen - 1 {
			rest[len(stream)+1] = 0
			stream = append(stream, 0)
		}
		stream[len(stream)-1] = byte(n >> 8)
		stream = append(stream, byte(n))
		rest[len(stream)] = n
		for i := range n {
			stream = append(stream, 0xff)
			rest[len(stream)] = n - i - 1
		}
	}
	for range 100 {
		var r recordRest
		for at := 0; at < len(stream); {
			n := min(1+random.IntN(1+random.IntN(5000)), len(stream)-at)
			r.follow(stream[at : at+n])
			if at += n; r.left != rest[at] {
				t.Fatalf("behind byte %d: %d are left, want %d", at, r.left, rest[at])
			}
		}
	}
}
