package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// What happens to a host's uplinks while a connection runs, one thing after the
// other. It goes on, byte for byte, and afterwards all uplinks carry that are
// there, under the names that they have.
func TestUplinksChange(t *testing.T) {
	t.Parallel()
	line := func(name string, rtt time.Duration) topology.Uplink {
		return topology.Line(name, 20*emulator.Mbps, 20*emulator.Mbps, rtt)
	}
	w := prepare(t, topology.Config{Uplinks: []topology.Uplink{
		line("dsl", 30*time.Millisecond), line("lte", 50*time.Millisecond), line("phone", 60*time.Millisecond),
	}}, daemon.Options{})
	w.must(w.Net.RemoveUplink("phone"))
	w.must(w.ServerAt(w.Client, daemon.Options{}, netip.AddrPortFrom(w.Net.ServerAddr4, daemon.Port), netip.AddrPortFrom(w.Net.ServerAddr6, daemon.Port)))
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	s, err := probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	talk, err := probe.StartConversation(w.ctx, w.Net.Client, s.Addr, 0)
	w.must(err)

	// Links by the names of their interfaces.
	two := map[string]string{"dsl": "dsl", "lte": "lte"}
	three := map[string]string{"dsl": "dsl", "lte": "lte", "phone": "phone"}
	for _, step := range []struct {
		what  string
		do    func()
		links map[string]string
	}{
		{"nothing yet", func() {}, two},
		{"a phone is plugged in", func() { w.must(w.Net.RestoreUplink("phone")) }, three},
		{"the phone is pulled out", func() { w.must(w.Net.RemoveUplink("phone")) }, two},
		{"a cable is pulled", func() { w.must(w.Net.Links["dsl"].SetCarrier(false)) }, map[string]string{"lte": "lte"}},
		{"and plugged in", func() { w.must(w.Net.Links["dsl"].SetCarrier(true)) }, two},
		{"an interface is renamed", func() { w.rename("lte", "wwan0") }, map[string]string{"dsl": "dsl", "wwan0": "lte"}},
		{"and renamed back", func() { w.rename("wwan0", "lte") }, two},
		{"a modem is plugged in again at once", func() {
			w.must(w.Net.RemoveUplink("lte"))
			w.must(w.Net.RestoreUplink("lte"))
		}, two},
		{"the best default route becomes another", func() {
			w.defaultRoute("add", "lte", 50)
			w.defaultRoute("del", "lte", 200)
		}, two},
		{"a default route goes", func() { w.defaultRoute("del", "dsl", 100) }, map[string]string{"lte": "lte"}},
		{"and comes back", func() { w.defaultRoute("add", "dsl", 100) }, two},
		{"a lease is renewed, its address away for a moment", func() {
			w.must(w.Net.RemoveAddress("lte"))
			w.must(w.Net.ConfigureUplink("lte"))
		}, two},
		{"a lease brings another address", func() { w.must(w.Net.ChangeAddress("lte", 77)) }, two},
		{"a second address comes", func() { w.run(w.Net.Client, "ip", "addr", "add", "10.2.0.99/24", "dev", "lte") }, two},
		{"and goes", func() { w.run(w.Net.Client, "ip", "addr", "del", "10.2.0.99/24", "dev", "lte") }, two},
		{"IPv4 goes, IPv6 stays", func() { w.run(w.Net.Client, "ip", "-4", "addr", "flush", "dev", "lte") }, two},
		{"IPv4 comes back", func() { w.must(w.Net.ConfigureUplink("lte")) }, two},
		{"IPv6 goes, IPv4 stays", func() { w.run(w.Net.Client, "ip", "-6", "addr", "flush", "dev", "lte", "scope", "global") }, two},
		{"IPv6 comes back", func() { w.must(w.Net.ConfigureUplink("lte")) }, two},
		{"IPv4 goes everywhere", func() {
			w.run(w.Net.Client, "ip", "-4", "addr", "flush", "dev", "lte")
			w.run(w.Net.Client, "ip", "-4", "addr", "flush", "dev", "dsl")
		}, two},
		{"all comes back", func() {
			w.must(w.Net.ConfigureUplink("lte"))
			w.must(w.Net.ConfigureUplink("dsl"))
		}, two},
	} {
		began := time.Now()
		step.do()
		last := w.carriedBy(talk, step.what, step.links)
		t.Logf("%s: all carry after %v; %s", step.what, time.Since(began).Round(time.Millisecond), last)
	}
	if err := talk.Finish(patience); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes verified", talk.Verified())
	w.must(s.Close())
	w.must(w.Stop())
}

// rename renames an interface of the client's, which keeps all it has.
func (w *world) rename(from, to string) {
	w.Helper()
	w.run(w.Net.Client, "ip", "link", "set", "dev", from, "name", to)
}

// defaultRoute adds or deletes an uplink's default routes.
func (w *world) defaultRoute(verb, uplink string, metric int) {
	w.Helper()
	for family, via := range map[string]netip.Addr{"-4": w.Net.RouterAddr4(uplink), "-6": w.Net.RouterAddr6(uplink)} {
		w.run(w.Net.Client, "ip", family, "route", verb, "default", "via", via.String(), "dev", uplink, "metric", fmt.Sprint(metric))
	}
}

// changeSettles is how long a change takes to have its effect: what carries sooner
// may be what was there before.
const changeSettles = time.Second

// carriedBy waits until a conversation goes on and exactly these uplinks carry
// it, by the emulator and in the status: names of interfaces, and of their links.
// Each has to carry for a moment, not all in the same one: on a busy machine the
// conversation fills the one or the other. It returns what was waited for last.
func (w *world) carriedBy(talk *probe.Conversation, what string, links map[string]string) (last string) {
	w.Helper()
	began := time.Now()
	want := slices.Sorted(maps.Keys(links))
	carries := map[string]bool{}
	for {
		verified := talk.Verified()
		before := map[string]carried{}
		for _, link := range links {
			before[link] = w.carried(link)
		}
		time.Sleep(300 * time.Millisecond)
		goesOn := talk.Verified() > verified
		settled := time.Since(began) > changeSettles
		for _, link := range links {
			carries[link] = carries[link] || settled && w.carried(link).large > before[link].large+20
		}
		s, err := w.Client.Poll(w.ctx)
		w.must(err)
		var up []string
		for _, u := range s.Uplinks {
			if u.State == "up" && u.Subflows > 0 {
				up = append(up, u.Interface)
			}
		}
		slices.Sort(up)
		all := true
		for _, link := range links {
			all = all && carries[link]
		}
		if all && goesOn && slices.Equal(up, want) {
			return last
		}
		if settled {
			last = fmt.Sprintf("of %v these are up: %v, these carry: %v, goes on: %v", want, up, carries, goesOn)
		}
		select {
		case <-talk.Done():
			w.Fatalf("%s: the conversation has ended: %v", what, talk.Finish(patience))
		default:
		}
		if time.Since(began) > patience {
			w.Fatalf("%s: not carried by %v, %s: %+v\n%s\n%s", what, links, last, s.Uplinks, w.statusText(w.Client),
				w.run(w.Net.Client, "ss", "-Htnie", "dport", "=", fmt.Sprint(":", daemon.Port)))
		}
	}
}
