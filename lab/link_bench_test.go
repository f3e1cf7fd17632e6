package lab_test

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"
)

// tcpRate returns what TCP gets in bit/s of payload for a second, after some
// time to find its pace.
func tcpRate(t testing.TB, from, to *lab.Host, at netip.Addr) float64 {
	listener, err := to.Listen(t.Context(), "tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer listener.Close()
	go func() {
		conn, err := from.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Error(err)
			listener.Close()
			return
		}
		defer conn.Close()
		for buf := make([]byte, 1<<16); err == nil; _, err = conn.Write(buf) {
		}
	}()
	conn, err := listener.Accept()
	if err != nil {
		return 0
	}
	defer conn.Close()
	begin, bytes := time.Now(), 0
	buf := make([]byte, 1<<18)
	var first time.Time
	for time.Since(begin) < 1500*ms {
		n, err := conn.Read(buf)
		if err != nil {
			t.Error(err)
			return 0
		}
		switch {
		case time.Since(begin) < 500*ms:
		case first.IsZero():
			first = time.Now()
		default:
			bytes += n
		}
	}
	return float64(bytes) * 8 / time.Since(first).Seconds()
}

// reportTiming reports the emulator's share of one core between two times, and
// how late it was.
func reportTiming(b *testing.B, l *lab.Lab, before lab.Timing, took time.Duration) {
	after, err := l.Timing()
	check(b, err)
	b.ReportMetric(100*float64(after.CPU-before.CPU)/float64(took), "core-%")
	b.ReportMetric(float64(after.MeanLate.Microseconds()), "late-µs")
	b.ReportMetric(float64(after.WorstLate.Microseconds()), "worst-µs")
}

// BenchmarkLinkRate prints what a link at a given rate costs. An operation is
// 100 ms of a full link.
func BenchmarkLinkRate(b *testing.B) {
	for _, rate := range []emulator.BitRate{8 * emulator.Mbps, 50 * emulator.Mbps, 100 * emulator.Mbps, 500 * emulator.Mbps} {
		b.Run(rate.String(), func(b *testing.B) {
			p := newPair(b, both(emulator.Shape{Rate: rate, Delay: 10 * ms}))
			before, err := p.lab.Timing()
			check(b, err)
			begin := time.Now()
			fates := flood(p.toB(1500, 0, time.Duration(b.N)*100*ms), 1.1*float64(rate)).run(b, nil)
			took := fates[len(fates)-1].sent
			reportTiming(b, p.lab, before, took)
			if time.Since(begin) > second {
				b.ReportMetric(rateOf(fates, 1500, 500*ms, took)/float64(rate), "of-rate")
			}
		})
	}
}

// BenchmarkLinkTCP prints how much one TCP flow gets through a link without a
// rate, and what of it the emulator's thread uses: the most that a lab carries.
func BenchmarkLinkTCP(b *testing.B) {
	for _, mtu := range []int{1500, 9000} {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			c := both(emulator.Shape{Delay: 100 * time.Microsecond})
			c.MTU = mtu
			p := newPair(b, c)
			listener, err := p.b.Listen(b.Context(), "tcp", netip.AddrPortFrom(p.bAddr, 0).String())
			check(b, err)
			defer listener.Close()
			conn, err := p.a.DialContext(b.Context(), "tcp", listener.Addr().String())
			check(b, err)
			accepted, err := listener.Accept()
			check(b, err)
			const chunk = 1 << 20
			b.SetBytes(chunk)
			before, err := p.lab.Timing()
			check(b, err)
			begin := time.Now()
			b.ResetTimer()
			go func() {
				defer conn.Close()
				buf := make([]byte, chunk)
				for range b.N {
					if _, err := conn.Write(buf); err != nil {
						b.Error(err)
						return
					}
				}
			}()
			if n, err := io.Copy(io.Discard, accepted); err != nil || n != int64(b.N)*chunk {
				b.Errorf("%d bytes arrived (%v)", n, err)
			}
			b.StopTimer()
			reportTiming(b, p.lab, before, time.Since(begin))
		})
	}
}
