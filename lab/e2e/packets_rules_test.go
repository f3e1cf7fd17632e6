package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
)

// bothRules are a rule for what a client sends to a port, and one for what comes
// from there.
func bothRules(protocol string, port int, policy string) daemon.Options {
	rule := func(side string) string {
		return fmt.Sprintf("\n[[rule]]\nmatch = \"%s %s %d\"\npolicy = %q\n", protocol, side, port, policy)
	}
	return daemon.Options{ClientMore: rule("dport"), Tunnel: rule("sport")}
}

// A call with the policy redundant does not notice that one uplink is a black hole.
func TestRedundantCallOverBlackHole(t *testing.T) {
	w := begin(t, cellA(), bothRules("udp", 7, "redundant"))
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 600) // no copies by default
	w.must(err)
	time.Sleep(time.Second)
	for _, victim := range []string{"dsl", "lte"} {
		w.must(w.Net.Links[victim].SetBlackHole(true))
		time.Sleep(1500 * time.Millisecond)
		w.must(w.Net.Links[victim].SetBlackHole(false))
		w.must(w.Client.WaitUp(w.patient(), 2))
		time.Sleep(500 * time.Millisecond)
	}
	r := e.Stop(2 * time.Second)
	st, err := w.Client.Status(w.ctx)
	w.must(err)
	t.Logf("%v; %+v", r, st.PacketLane)
	if r.Lost() > 0 {
		t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
	}
	if n := st.PacketLane; n.CopiesAtOnce.Sent < uint64(r.Sent)/5 || n.CopiesAtOnce.Useful == 0 || n.Saved == 0 {
		t.Errorf("%d packets and %+v", r.Sent, n)
	}
}

// One TCP connection that travels as packets gets more than one uplink where a rule
// spreads it.
func TestSpreadDownload(t *testing.T) {
	o := bothRules("tcp", 5202, "ecf")
	o.TCP = "packets"
	w := begin(t, cellA(), o)
	rates := map[int]float64{}
	for _, port := range []int{5201, 5202} {
		_, err := w.Net.Internet.Start(w.ctx, exec.Command("iperf3", "-s", "-p", fmt.Sprint(port)))
		w.must(err)
		var out []byte
		for range 20 { // until the server listens
			if out, err = w.Net.Client.Run(w.ctx, "iperf3", "-J", "-R", "-t", "5", "-O", "2", "-p", fmt.Sprint(port), "-c", w.Net.InternetAddr4.String()); err == nil {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		w.must(err)
		var r struct {
			End struct {
				Received struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			} `json:"end"`
		}
		w.must(json.Unmarshal(out, &r))
		rates[port] = r.End.Received.Rate / 1e6
	}
	st, err := w.Client.Status(w.ctx)
	w.must(err)
	t.Logf("on one uplink %.1f Mb/s, spread %.1f Mb/s, %+v", rates[5201], rates[5202], st.PacketLane)
	if rates[5202] < 1.2*rates[5201] {
		t.Errorf("on one uplink %.1f Mb/s, spread %.1f Mb/s", rates[5201], rates[5202])
	}
	if st.PacketLane.Disordered == 0 {
		t.Error("nothing was out of order")
	}
}
