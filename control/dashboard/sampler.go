package dashboard

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"braid/control"
)

// How often the status is taken, however many browsers look. The daemon's rates are
// of about a second: the history gains nothing by more. Who looks is told of an
// uplink's death well within one.
const (
	sampleEvery  = time.Second
	watchedEvery = sampleEvery / 2
)

// sampler takes the status again and again.
type sampler struct {
	status   func() any
	watchers atomic.Int32 // who wants to know soon

	mu      sync.Mutex // guards what follows
	history History
	now     *sample
}

// sample is a status. It is made JSON when the first browser wants it.
type sample struct {
	status any
	next   chan struct{} // closed when there is a newer one

	once sync.Once // guards json
	json []byte
}

func newSampler(status func() any) *sampler {
	return &sampler{status: status, now: &sample{next: make(chan struct{})}}
}

// run takes samples until ctx ends.
func (s *sampler) run(ctx context.Context) error {
	tick := time.NewTicker(watchedEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%2 == 0 || s.watchers.Load() > 0 {
			s.take(time.Now(), s.status())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *sampler) take(now time.Time, status any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.Add(now, rates(status))
	close(s.now.next)
	s.now = &sample{status: status, next: make(chan struct{})}
}

// latest returns the newest sample, whose status is nil before the first one.
func (s *sampler) latest() *sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *sampler) hour(now time.Time) Hour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.Hour(now)
}

// bytes is the status as JSON, which is shared: nobody writes it.
func (s *sample) bytes() []byte {
	s.once.Do(func() {
		b, err := json.Marshal(brief(s.status))
		if err == nil { // plain structs
			s.json = b
		}
	})
	return s.json
}

// rates is what a status says of each uplink, or of each connected client of a
// server.
func rates(status any) []Rate {
	var list []Rate
	switch s := status.(type) {
	case *control.Client:
		for _, u := range s.Uplinks {
			list = append(list, Rate{u.Interface, u.RxBps, u.TxBps})
		}
	case *control.Server:
		for _, c := range s.Clients {
			if c.State != control.SessionUp {
				continue
			}
			r := Rate{Name: c.Name}
			for _, u := range c.Uplinks {
				r.RxBps, r.TxBps = r.RxBps+u.RxBps, r.TxBps+u.TxBps
			}
			list = append(list, r)
		}
	}
	return list
}

// Of a server's clients the page shows no more streams, and connected ones before
// others. A server has thousands of clients with a hundred streams each, which
// nobody could look at, and which would be tens of megabytes a second.
const (
	briefStreams = 10
	briefClients = 100
)

// brief is what of a status the page gets: of a client all.
func brief(status any) any {
	s, ok := status.(*control.Server)
	if !ok {
		return status
	}
	b := briefServer{Server: *s, ClientsTotal: len(s.Clients)}
	b.Clients = slices.Clone(s.Clients)
	for _, c := range b.Clients {
		if c.State == control.SessionUp {
			b.ClientsUp++
		}
	}
	slices.SortStableFunc(b.Clients, func(x, y control.Peer) int { return rank(x) - rank(y) })
	b.Clients = b.Clients[:min(len(b.Clients), briefClients)]
	for i := range b.Clients {
		list := &b.Clients[i].Streams.List
		*list = (*list)[:min(len(*list), briefStreams)]
	}
	return b
}

// rank sorts clients: those that are connected first.
func rank(c control.Peer) int {
	if c.State == control.SessionUp {
		return 0
	}
	return 1
}

// briefServer is a server's status with some of its clients, and how many there
// are.
type briefServer struct {
	control.Server
	ClientsTotal int `json:"clients_total"`
	ClientsUp    int `json:"clients_up"`
}
