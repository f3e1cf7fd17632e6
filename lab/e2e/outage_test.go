package e2e

import (
	"testing"
	"time"

	"braid/lab/daemon"
)

// Both uplinks swallow everything for a long time, without a sign: a download
// and an upload go on when the first of them returns.
func TestBothUplinksBlack(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	silence := 20 * time.Second
	if long() {
		silence = time.Minute
	}
	x := w.startTransfers(40_000_000, 8_000_000)
	x.progress(1_000_000)
	w.must(w.BlackHole(true))
	time.Sleep(silence)
	x.unfinished()
	w.must(w.BlackHole(false, "dsl"))
	down, up := x.firstByte()
	t.Logf("black for %v; the first byte came after %v down, %v up (goal 1 s)", silence, down.Round(time.Millisecond), up.Round(time.Millisecond))
	w.must(w.BlackHole(false, "lte"))
	x.finish()
	w.must(w.Client.WaitUp(w.patient(), 2))
}

// The client's address changes on both uplinks, one after the other and then at
// once, while a download and an upload run.
func TestAddressesChange(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	w.changed = true
	x := w.startTransfers(50_000_000, 10_000_000)
	x.progress(500_000)
	for _, numbers := range []map[string]byte{{"dsl": 70}, {"lte": 80}, {"dsl": 71, "lte": 81}} {
		x.unfinished()
		for uplink, number := range numbers {
			w.must(w.Net.ChangeAddress(uplink, number))
		}
		x.progress(500_000)
		w.must(w.Client.WaitUp(w.patient(), 2))
	}
	x.finish()
}

// Something strips Multipath TCP's options on the better uplink, and then that
// uplink dies without a sign: what runs goes on over the other one.
func TestStrippedUplinkDies(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{})
	w.must(w.StripMPTCP(true, "dsl"))
	w.connect()
	x := w.startTransfers(30_000_000, 4_000_000)
	x.progress(500_000)
	x.unfinished()
	w.must(w.BlackHole(true, "dsl"))
	x.finish()
	w.must(w.Stop())
}

// It is stripped everywhere: all carriers are plain TCP, each over one uplink,
// and what runs moves from the uplink that is unplugged to the other one, and
// back.
func TestStrippedEverywhere(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{})
	w.must(w.StripMPTCP(true))
	w.connect()
	s, err := w.Client.Status(w.ctx)
	w.must(err)
	if s.Session.MPTCP {
		t.Errorf("status %+v", s)
	}
	x := w.startTransfers(40_000_000, 6_000_000)
	x.progress(500_000)
	for _, name := range []string{"dsl", "lte"} {
		x.unfinished()
		w.must(w.Net.Links[name].SetCarrier(false))
		x.progress(500_000)
		w.must(w.Net.Links[name].SetCarrier(true))
		x.progress(500_000)
	}
	x.finish()
	w.must(w.Stop())
}

// connect starts server and client and waits for a session, whatever uplinks
// it uses.
func (w *world) connect() {
	w.Helper()
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitFor(w.patient(), "connected", func(s daemon.Status) bool { return s.Session.State == "up" }))
}
