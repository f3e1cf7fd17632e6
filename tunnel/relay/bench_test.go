package relay

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"
)

// discard is io.Discard without ReadFrom, which would take another path.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// benchmarkRelay moves 64 KiB from program to socket to link to socket to
// program.
func benchmarkRelay(b *testing.B, nearLink, farLink Link) {
	var running sync.WaitGroup
	defer running.Wait()
	cfg := testConfig
	cfg.BufferBytes, cfg.WindowBytes = 16<<20, 16<<20
	nearApp, farApp, near, far, _ := kernelPair(b, &running, cfg, nearLink, farLink)
	defer func() {
		nearApp.Close()
		farApp.Close()
		for _, r := range []*Relay{near, far} {
			r.mu.Lock()
			r.giveUpLocked()
			r.mu.Unlock()
		}
	}()
	p := make([]byte, 64<<10)
	const warm = 1000 // blocks and batches come from pools
	move := func(n int) {
		var writer sync.WaitGroup
		writer.Go(func() {
			for range n {
				nearApp.Write(p)
			}
		})
		io.CopyN(discard{}, farApp, int64(n)*int64(len(p)))
		writer.Wait()
	}
	move(warm)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	b.ResetTimer()
	move(b.N)
	b.StopTimer()
}

func BenchmarkRelayInMemory(b *testing.B) {
	near, far := newLinks()
	benchmarkRelay(b, near, far)
}

func BenchmarkRelayTCP(b *testing.B) {
	near, far := newTCPLinks(b)
	benchmarkRelay(b, near, far)
}

// What an idle stream costs one side, with kernel sockets; the link's own
// buffers are its own.
func TestIdleCost(t *testing.T) {
	relays := 1000
	if testing.Short() || raceDetector {
		relays = 100
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := testConfig
	cfg.BufferBytes, cfg.WindowBytes = 16<<20, 16<<20
	cfg.Released, cfg.Detached = func(Link) {}, func(*Relay, error) {}
	type pair struct {
		apps      [2]io.ReadWriteCloser
		socks     [2]Socket
		near, far *tcpLink
		relayNear *Relay
		relayFar  *Relay
	}
	pairs := make([]*pair, relays/2)
	for i := range pairs {
		p := &pair{}
		p.near, p.far = newTCPLinks(t)
		p.near.buf, p.far.buf = make([]byte, 128), make([]byte, 128)
		for n := range p.socks {
			a, s := tcpPair(t)
			p.apps[n], p.socks[n] = a, s
			defer a.Close()
		}
		pairs[i] = p
	}
	measure := func() (heap, stack, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), int(m.StackInuse), runtime.NumGoroutine()
	}
	heap0, stack0, goroutines0 := measure()
	for _, p := range pairs {
		p.relayNear = NewOpener(cfg, testOpen, func(context.Context) (Socket, error) { return p.socks[0], nil })
		running.Go(func() { p.relayNear.Run(ctx, p.near) })
		p.relayFar = accepterOf(t, cfg, p.far, p.socks[1])
		running.Go(func() { p.relayFar.Run(ctx, p.far) })
	}
	for _, p := range pairs { // each has been used, and its stacks have grown
		for n := range p.apps {
			p.apps[n].Write([]byte("question"))
			if _, err := io.ReadFull(p.apps[1-n], make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(2 * ackDelay)
	heap, stack, goroutines := measure()
	t.Logf("%d relays: %d bytes of heap, %d of stack, %.1f goroutines each", relays,
		(heap-heap0)/relays, (stack-stack0)/relays, float64(goroutines-goroutines0)/float64(relays))
	if each := (heap - heap0 + stack - stack0) / relays; each > 100<<10 {
		t.Errorf("an idle relay costs %d bytes", each)
	}
	runtime.KeepAlive(pairs)
}
