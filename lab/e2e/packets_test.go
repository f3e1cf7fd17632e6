package e2e

import (
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
)

// packetsSent is how many packets the client sent on each uplink's path carrier.
func (w *world) packetsSent() map[string]uint64 {
	w.Helper()
	s, err := w.Client.Status(w.ctx)
	w.must(err)
	sent := map[string]uint64{}
	for _, u := range s.Uplinks {
		sent[u.Interface] = u.Packets.TxPackets
	}
	return sent
}

// The uplink that carries a call becomes a black hole, and returns: what it
// swallowed is sent again on the other.
func TestCallOverBlackHole(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{})
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
	w.must(err)
	time.Sleep(time.Second)
	before := w.packetsSent()
	time.Sleep(time.Second)
	victim, most := "", uint64(0)
	for name, n := range w.packetsSent() {
		if n -= before[name]; n > most {
			victim, most = name, n
		}
	}
	if most < 10 {
		t.Fatalf("%d packets on %q", most, victim)
	}
	w.must(w.Net.Links[victim].SetBlackHole(true))
	time.Sleep(2 * time.Second)
	w.must(w.Net.Links[victim].SetBlackHole(false))
	time.Sleep(2 * time.Second)
	r := e.Stop(2 * time.Second)
	t.Logf("%s was a black hole: %v", victim, r)
	if r.Lost() > r.Sent/50 {
		t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
	}
}

// Two bulk flows use both uplinks, one each.
func TestBulkPacketsOverBothUplinks(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{})
	_, err := w.Net.Internet.Start(w.ctx, exec.Command("iperf3", "-s"))
	w.must(err)
	for range 20 { // until the server listens
		if _, err = w.Net.Client.Run(w.ctx, "iperf3", "-u", "-b", "15M", "-P", "2", "-t", "4", "-c", w.Net.InternetAddr4.String()); err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.must(err)
	for name, n := range w.packetsSent() {
		if n < 500 { // of some 6,000
			t.Errorf("%d packets on %s", n, name)
		}
	}
	st, err := w.Client.Status(w.ctx)
	w.must(err)
	if b := st.PacketLane.Bulk; b.Packets < 1000 || b.Dropped+b.Overflowed+b.TooOld == 0 {
		t.Errorf("30 Mb/s into 20: %+v", b)
	}
}
