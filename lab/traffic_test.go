package lab_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"braid/lab"
)

// datagramHeaders are the IPv4 and UDP headers, which a link's rate counts.
const datagramHeaders = 28

// fate is what became of one datagram of a stream.
type fate struct {
	sent time.Duration // since the stream began
	took time.Duration // one way; 0 when it was lost
	at   time.Duration // of arrival, since the stream began
}

func (f fate) lost() bool { return f.took == 0 }

// stream sends datagrams of size bytes of IP from one host to an address of the
// other, a number of them at every interval, and tells the fate of each. What
// has not arrived after patience is lost.
type stream struct {
	from, to *lab.Host
	addr     netip.Addr
	size     int
	interval time.Duration
	burst    int // at every interval; 0 is 1
	length   time.Duration
	patience time.Duration
}

func (p *pair) toB(size int, interval, length time.Duration) stream {
	return stream{from: p.a, to: p.b, addr: p.bAddr, size: size, interval: interval, length: length, patience: 300 * ms}
}

func (p *pair) toA(size int, interval, length time.Duration) stream {
	return stream{from: p.b, to: p.a, addr: p.aAddr, size: size, interval: interval, length: length, patience: 300 * ms}
}

// flood is a stream with more than a rate of bit/s. Its bursts are short
// compared with any queue.
func flood(s stream, rate float64) stream {
	s.interval = 2 * ms
	s.burst = int(rate*s.interval.Seconds()/8/float64(s.size)) + 1
	return s
}

// run sends and receives. During, if not nil, runs beside it, and may change
// the link.
func (s stream) run(t testing.TB, during func(begin time.Time)) []fate {
	t.Helper()
	receiver, err := s.to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(s.addr, 0).String())
	check(t, err)
	defer receiver.Close()
	// The receiver may be kept from running for a while.
	check(t, receiver.(*net.UDPConn).SetReadBuffer(8<<20))
	sender, err := s.from.DialContext(t.Context(), "udp", receiver.LocalAddr().String())
	check(t, err)
	defer sender.Close()

	begin := time.Now()
	var arrivals []fate // by order of arrival; sent holds the number
	received := make(chan struct{})
	go func() {
		defer close(received)
		buf := make([]byte, 1<<16)
		for {
			if _, _, err := receiver.ReadFrom(buf); err != nil {
				return
			}
			arrivals = append(arrivals, fate{sent: time.Duration(binary.BigEndian.Uint64(buf)), at: time.Since(begin)})
		}
	}()
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		if during != nil {
			during(begin)
		}
	}()
	var fates []fate
	datagram := make([]byte, s.size-datagramHeaders)
	for next := time.Duration(0); next < s.length; next += s.interval {
		time.Sleep(next - time.Since(begin))
		for range max(s.burst, 1) {
			binary.BigEndian.PutUint64(datagram, uint64(len(fates)))
			fates = append(fates, fate{sent: time.Since(begin)})
			_, _ = sender.Write(datagram) // what the kernel refuses is lost
		}
	}
	<-changed
	check(t, receiver.SetReadDeadline(time.Now().Add(s.patience)))
	<-received
	for _, a := range arrivals {
		f := &fates[a.sent]
		f.at, f.took = a.at, max(a.at-f.sent, 1)
	}
	return fates
}

// arrived keeps the fates of what arrived, in order of arrival.
func arrived(fates []fate) []fate {
	kept := slices.DeleteFunc(slices.Clone(fates), fate.lost)
	slices.SortStableFunc(kept, func(a, b fate) int { return int(a.at - b.at) })
	return kept
}

// between keeps the fates of what was sent in a span.
func between(fates []fate, from, to time.Duration) []fate {
	return slices.DeleteFunc(slices.Clone(fates), func(f fate) bool { return f.sent < from || f.sent >= to })
}

// medianTook is the median delay of what arrived, 0 when nothing did.
func medianTook(fates []fate) time.Duration {
	kept := arrived(fates)
	if len(kept) == 0 {
		return 0
	}
	slices.SortFunc(kept, func(a, b fate) int { return int(a.took - b.took) })
	return kept[len(kept)/2].took
}

// rateOf is the rate of arrival of IP bytes in bit/s, of what arrived in a span.
func rateOf(fates []fate, size int, from, to time.Duration) float64 {
	kept := slices.DeleteFunc(arrived(fates), func(f fate) bool { return f.at < from || f.at >= to })
	if len(kept) < 2 {
		return 0
	}
	return float64((len(kept)-1)*size*8) / (kept[len(kept)-1].at - kept[0].at).Seconds()
}
