package probe

import (
	"slices"
	"sync"
	"time"

	"braid/lab/emulator"
)

// Bin is the length of a Meter's bins.
const Bin = 100 * time.Millisecond

// Meter counts bytes as they arrive, in bins of time since its creation. As an
// io.Writer it counts what is written. Safe for concurrent use.
type Meter struct {
	mu      sync.Mutex // guards the rest
	begin   time.Time
	end     time.Time // zero while running
	total   int64
	bins    []int64
	last    time.Time // of the latest bytes, begin before any
	stall   time.Duration
	stallAt time.Duration
}

// NewMeter returns a meter whose time begins now.
func NewMeter() *Meter {
	now := time.Now()
	return &Meter{begin: now, last: now}
}

// Write implements io.Writer; it never fails.
func (m *Meter) Write(b []byte) (int, error) {
	m.Add(int64(len(b)))
	return len(b), nil
}

// Add counts n bytes that have arrived now. A stopped meter ignores them.
func (m *Meter) Add(n int64) {
	if n <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.end.IsZero() {
		return
	}
	now := time.Now()
	m.total += n
	m.growLocked(now)
	m.bins[len(m.bins)-1] += n
	m.stallLocked(now)
	m.last = now
}

// growLocked makes the bins reach to a time.
func (m *Meter) growLocked(now time.Time) {
	for want := int(now.Sub(m.begin)/Bin) + 1; len(m.bins) < want; {
		m.bins = append(m.bins, 0)
	}
}

// stallLocked takes the silence until a time into account.
func (m *Meter) stallLocked(now time.Time) {
	if silence := now.Sub(m.last); silence > m.stall {
		m.stall, m.stallAt = silence, m.last.Sub(m.begin)
	}
}

// Stop ends the meter's time: what follows is neither counted nor a stall.
func (m *Meter) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.end.IsZero() {
		m.end = time.Now()
		m.growLocked(m.end)
		m.stallLocked(m.end)
	}
}

func (m *Meter) nowLocked() time.Time {
	if m.end.IsZero() {
		return time.Now()
	}
	return m.end
}

// Elapsed returns the meter's time: since its creation, until now or Stop.
func (m *Meter) Elapsed() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nowLocked().Sub(m.begin)
}

// Total returns the bytes so far.
func (m *Meter) Total() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

// Bins returns the bytes of each bin so far; the last one is not over yet.
func (m *Meter) Bins() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.growLocked(m.nowLocked())
	return slices.Clone(m.bins)
}

// Rate returns the mean rate between two times of the meter, widened to whole
// bins. A span without time in it has rate 0.
func (m *Meter) Rate(from, to time.Duration) emulator.BitRate {
	first, end := int(from/Bin), int((to+Bin-1)/Bin)
	if first < 0 || end <= first {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var bytes int64
	for i := first; i < min(end, len(m.bins)); i++ {
		bytes += m.bins[i]
	}
	span := min(time.Duration(end)*Bin, m.nowLocked().Sub(m.begin)) - time.Duration(first)*Bin
	if span <= 0 {
		return 0
	}
	return emulator.BitRate(float64(bytes) * 8 / span.Seconds())
}

// MeanRate returns the rate over the whole of the meter's time.
func (m *Meter) MeanRate() emulator.BitRate { return m.Rate(0, m.Elapsed()) }

// LongestStall returns the longest time without bytes and when it began. The
// wait for the first bytes counts, and so does one that lasts still.
func (m *Meter) LongestStall() (at, length time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stallLocked(m.nowLocked())
	return m.stallAt, m.stall
}

// LongestStallSince is LongestStall for stalls that ended after a time of the
// meter, in the resolution of bins, for what follows a deed of the test.
func (m *Meter) LongestStallSince(from time.Duration) (at, length time.Duration) {
	bins := m.Bins()
	start := max(int(from/Bin), 0)
	for i := start; i < len(bins); i++ {
		if bins[i] > 0 {
			start = i + 1
			continue
		}
		if l := time.Duration(i+1-start) * Bin; l > length {
			at, length = time.Duration(start)*Bin, l
		}
	}
	return at, length
}
