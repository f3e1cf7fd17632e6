package e2e

import (
	"net/netip"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// All connections between client and server are reset, by the kernels of the
// two in turn, again and again under load: no connection inside ends, and no
// byte is wrong.
func TestCarriersReset(t *testing.T) {
	t.Parallel()
	// Bulk both ways would hide a lost byte's delay in a queue: faster lines than
	// the conversations need.
	c := topology.Config{Uplinks: []topology.Uplink{
		topology.Line("dsl", 100*emulator.Mbps, 100*emulator.Mbps, 20*time.Millisecond),
		topology.Line("lte", 50*emulator.Mbps, 50*emulator.Mbps, 40*time.Millisecond),
	}}
	w := begin(t, c, daemon.Options{})
	s, err := probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	var talks []*probe.Conversation
	for _, rate := range []emulator.BitRate{0, 5 * emulator.Mbps, 5 * emulator.Mbps, 500 * emulator.Kbps, 20 * emulator.Kbps} {
		talk, err := probe.StartConversation(w.ctx, w.Net.Client, s.Addr, rate)
		w.must(err)
		talks = append(talks, talk)
	}
	// Of each host in turn: all TCP sockets of carriers, which leaves it to MPTCP
	// whether it goes on with new subflows; and the connections themselves.
	ways := []struct {
		what  string
		reset func() (int, error)
		slow  time.Duration // the longest until every conversation went on
		last  int           // number of the conversation that was waited for
	}{
		{what: "client's sockets", reset: func() (int, error) { return w.KillCarriers(w.patient(), w.Net.Client) }},
		{what: "server's sockets", reset: func() (int, error) { return w.KillCarriers(w.patient(), w.Net.Server) }},
		{what: "client's connections", reset: w.Client.ResetCarriers},
		{what: "server's connections", reset: w.Server.ResetCarriers},
	}
	kills := count(t, "BRAID_KILLS", 30, 500)
	sockets := 0
	for i := range kills {
		way := &ways[i%len(ways)]
		n, err := way.reset()
		w.must(err)
		sockets += n
		began := time.Now()
		last := w.progressOf(talks)
		if took := time.Since(began); took > way.slow {
			way.slow, way.last = took, last
		}
		// Not always at the same moment of what follows.
		time.Sleep(time.Duration(i%7) * 30 * time.Millisecond)
	}
	if sockets < kills {
		t.Errorf("%d resets met %d connections: not all met one", kills, sockets)
	}
	var bytes int64
	for i, talk := range talks {
		if err := talk.Finish(patience); err != nil {
			t.Errorf("conversation %d: %v", i, err)
		}
		bytes += talk.Verified()
	}
	t.Logf("%d times all carriers reset, %d sockets; %d bytes verified in %d conversations", kills, sockets, bytes, len(talks))
	for _, way := range ways {
		t.Logf("reset of the %s: all went on within %v, the last was number %d", way.what, way.slow.Round(time.Millisecond), way.last)
	}
	w.must(s.Close())
}

// progressOf waits until every conversation has brought something more, and
// returns the number of the last one that did.
func (w *world) progressOf(talks []*probe.Conversation) (last int) {
	w.Helper()
	before := make([]int64, len(talks))
	for i, talk := range talks {
		before[i] = talk.Verified()
	}
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		all := true
		for i, talk := range talks {
			select {
			case <-talk.Done():
				w.Fatalf("conversation %d: %v", i, talk.Finish(patience))
			default:
			}
			if talk.Verified() == before[i] {
				all, last = false, i
			}
		}
		if all {
			return last
		}
		if time.Now().After(end) {
			for i, talk := range talks {
				w.Logf("conversation %d: %d bytes, %d of them since", i, talk.Verified(), talk.Verified()-before[i])
			}
			w.Fatal("not all conversations go on")
		}
	}
}
