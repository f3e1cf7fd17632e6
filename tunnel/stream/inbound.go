package stream

import "time"

const (
	// MinWindowBytes is the room that a peer is promised whatever the budget.
	MinWindowBytes = 256 << 10
	// FirstWindowBytes is the room that a peer is promised at first, where
	// half of the budget is left: a loss holds up everything behind it for
	// some round trips, and the sender shall not stand still meanwhile.
	FirstWindowBytes = 1 << 20
)

// paceTime is in what time a program must consume a window to get a larger
// one. A window is what is consumed in one round trip, so this is the longest
// round trip, queues included, at which a stream still gets all of the path;
// and a stream is promised no more than it consumes in twice this time,
// however long it lives.
const paceTime = 2 * time.Second

// Inbound is the direction from the peer to here. Bytes that the program does
// not take at once wait in it.
//
//	consumed      received                    limit
//	   ├── waiting ──┼── promised to the peer ──┤
//	   └──────────────── window ────────────────┘
type Inbound struct {
	wait     *Buffer // its Acked is what the program has consumed
	window   int     // bytes; between least and most
	least    int
	most     int
	budget   *Budget
	charged  int // blocks of the budget, for what is promised beyond least
	since    time.Time
	from     uint64 // what was consumed at since
	received uint64
	fin      bool
	told     Ack
}

// NewInbound makes an Inbound whose window grows from FirstWindowBytes to
// windowBytes, as the program consumes and the budget allows.
func NewInbound(windowBytes int, budget *Budget) *Inbound {
	least, first := min(windowBytes, MinWindowBytes), min(windowBytes, FirstWindowBytes)
	charged := budget.takeSpare(blocksOf(first - least))
	window := min(first, least+charged*blockBytes)
	return &Inbound{
		wait: NewBuffer(windowBytes), window: window, least: least, most: windowBytes, budget: budget, charged: charged,
		told: Ack{Limit: uint64(window)},
	}
}

// Data asks whether the peer may send n bytes more. The caller then gives as
// many as it can to the program, if none are Waiting, and counts them with
// Take; the rest it must Keep.
func (i *Inbound) Data(n int) error {
	if i.fin {
		return errAfterFin
	}
	if i.received+uint64(n) > i.told.Limit {
		return errOverrun
	}
	return nil
}

// Received is the number of bytes that have come.
func (i *Inbound) Received() uint64 { return i.received }

// Waiting reports whether bytes wait for the program: then new ones must wait
// behind them.
func (i *Inbound) Waiting() bool { return i.Held() > 0 }

// Held is the number of bytes that wait for the program.
func (i *Inbound) Held() int { return i.wait.Held() }

// Take counts n bytes that were given to the program at once; none may wait.
func (i *Inbound) Take(n int) {
	i.received += uint64(n)
	i.wait.skip(n)
}

// Keep copies bytes that Data has allowed, for the program to take later.
func (i *Inbound) Keep(p []byte) {
	i.received += uint64(len(p))
	for len(p) > 0 {
		n := copy(i.wait.Space(), p)
		i.wait.Commit(n)
		p = p[n:]
	}
}

// Pending returns bytes that wait for the program, as many as lie together.
func (i *Inbound) Pending() []byte { return i.wait.Unsent(blockBytes) }

// Consume says that the program has taken n bytes of Pending.
func (i *Inbound) Consume(n int) {
	i.wait.Advance(n)
	i.wait.Ack(i.wait.Sent())
}

// Tune fits the window to the pace of the program; it is to be called after
// Take and Consume. The window doubles when the program has consumed a whole
// one in no more than paceTime and little waits for it, and halves when it has
// taken less than a quarter in that time. What was promised stays promised,
// and is paid for, until it is used.
func (i *Inbound) Tune(now time.Time) {
	if i.fin {
		return
	}
	if i.since.IsZero() {
		i.since = now
	}
	consumed := i.wait.Acked()
	switch n := consumed - i.from; {
	case now.Sub(i.since) > paceTime:
		if n < uint64(i.window/4) {
			i.window = max(i.least, i.window/2)
		}
	case n < uint64(i.window), i.Held() > i.window/4:
		return
	default:
		i.grow()
	}
	i.since, i.from = now, consumed
	i.giveBeyond(max(i.window, int(i.told.Limit-consumed)))
}

// grow doubles the window, or as much of that as the budget pays for.
func (i *Inbound) grow() {
	want := min(2*i.window, i.most)
	if missing := blocksOf(want-i.least) - i.charged; missing > 0 {
		i.charged += i.budget.take(missing)
	}
	i.window = max(i.window, min(want, i.least+i.charged*blockBytes))
}

func blocksOf(bytes int) int { return (bytes + blockBytes - 1) / blockBytes }

// Window is the room that the peer is given at present, bytes.
func (i *Inbound) Window() int { return i.window }

// Fin takes the end of the peer's bytes.
func (i *Inbound) Fin() error {
	if i.fin {
		return errFinRange
	}
	i.fin = true
	i.giveBeyond(i.Held()) // the rest of what was promised is not used
	return nil
}

// giveBeyond gives the budget back what bytes of room do not need.
func (i *Inbound) giveBeyond(bytes int) {
	if owed := blocksOf(max(0, bytes-i.least)); owed < i.charged {
		i.budget.give(i.charged - owed)
		i.charged = owed
	}
}

// Ended reports whether the program has everything, the end included.
func (i *Inbound) Ended() bool { return i.fin && !i.Waiting() }

// Ack is what to tell the peer now.
func (i *Inbound) Ack() Ack {
	// A window that has shrunk takes no promise back.
	limit := max(i.told.Limit, i.wait.Acked()+uint64(i.window))
	return Ack{Received: i.received, Limit: limit, Fin: i.fin}
}

// Due returns the Ack to send, and whether it is due: when a quarter of the
// window has moved since the last one, or the end came. With flush anything
// new is. Nothing is due behind the Ack with the end: the peer needs no more
// room, and its carrier may serve another stream by then.
func (i *Inbound) Due(flush bool) (Ack, bool) {
	a := i.Ack()
	if i.Urgent() || flush && i.News() {
		i.told = a
		return a, true
	}
	return a, false
}

// Urgent reports whether an Ack is due without flush.
func (i *Inbound) Urgent() bool {
	a, quarter := i.Ack(), uint64(i.window/4)
	return i.News() && (a.Fin || a.Received-i.told.Received >= quarter || a.Limit-i.told.Limit >= quarter)
}

// News reports whether the peer does not know everything yet that matters.
func (i *Inbound) News() bool { return !i.told.Fin && i.Ack() != i.told }

// Resume returns what to tell the peer on another carrier.
func (i *Inbound) Resume() Ack {
	i.told = i.Ack()
	return i.told
}

// SaidAll reports whether the peer was told at least once, on whichever
// carrier, that everything has come, the end included.
func (i *Inbound) SaidAll() bool { return i.told.Fin }

// Close gives back all memory, and what was taken of the budget.
func (i *Inbound) Close() {
	i.wait.Close()
	i.budget.give(i.charged)
	i.charged, i.most = 0, i.window
}
