package e2e

import (
	"net/netip"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/topology"
)

// alike is two LTE routers of one maker, each with NAT and a network of its own
// that looks like the other's.
func alike(first, second string) topology.Config {
	var c topology.Config
	for i, address := range []string{first, second} {
		u := topology.Line([]string{"lte1", "lte2"}[i], 30*emulator.Mbps, 10*emulator.Mbps, 40*time.Millisecond)
		u.Client4, u.IPv6 = netip.MustParsePrefix(address), false
		c.Uplinks = append(c.Uplinks, u)
	}
	return c
}

// Two uplinks whose routers do not know of each other: one network twice, with
// one gateway's address twice, and even with one address of the host's twice.
// Both carry, and the counters tell of each what it carried.
func TestUplinksAlike(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		strict              bool // the host's reverse-path filter
		late                bool // the second is plugged in while the first is used
	}{
		{name: "same network", first: "192.168.8.100/24", second: "192.168.8.101/24"},
		{name: "same address", first: "192.168.8.100/24", second: "192.168.8.100/24"},
		{name: "same address, strict filter", first: "192.168.8.100/24", second: "192.168.8.100/24", strict: true},
		{name: "same address, one plugged in later", first: "192.168.8.100/24", second: "192.168.8.100/24", late: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := prepare(t, alike(test.first, test.second), daemon.Options{})
			if test.strict {
				w.must(w.Net.Client.SetReversePathFilter(lab.Strict))
			}
			if test.late {
				w.must(w.Net.RemoveUplink("lte2"))
				w.must(w.Server.Start(w.patient()))
				w.must(w.Client.Start(w.patient()))
				w.must(w.Client.WaitUp(w.patient(), 1))
				w.curl(w.Net.InternetAddr4, 5_000_000)
				x := w.startTransfers(15_000_000, 3_000_000)
				x.progress(500_000)
				w.must(w.Net.RestoreUplink("lte2"))
				w.must(w.Client.WaitUp(w.patient(), 2))
				x.finish()
			}
			before := w.snapshot(w.Net.Client)
			if !test.late {
				w.must(w.Setup.Start(w.patient()))
			}
			w.bothCarry("lte1", "lte2")
			// Which is which is known: the one that dies is the one that is dead.
			for _, name := range []string{"lte1", "lte2"} {
				x := w.startTransfers(8_000_000, 1_000_000)
				w.must(w.BlackHole(true, name))
				x.finish()
				w.state(name, "dead")
				for _, other := range []string{"lte1", "lte2"} {
					if u := w.uplink(other); other != name && u.State != "up" {
						t.Errorf("%s swallows everything, and of %s is said %+v", name, other, u)
					}
				}
				w.must(w.BlackHole(false, name))
				w.state(name, "up")
			}
			w.bothCarry("lte1", "lte2")
			if !test.late {
				w.must(w.Stop())
				w.same(w.Net.Client, before)
				return
			}
			// The one that was there first is pulled out.
			x := w.startTransfers(10_000_000, 2_000_000)
			x.progress(500_000)
			w.must(w.Net.RemoveUplink("lte1"))
			x.finish()
			w.must(w.Net.RestoreUplink("lte1"))
			w.must(w.Client.WaitUp(w.patient(), 2))
			w.bothCarry("lte1", "lte2")
			w.must(w.Stop())
		})
	}
}

// Two uplinks of IPv6 alone whose routers have the same link-local address, as
// most have fe80::1.
func TestUplinksOfOneLinkLocalGateway(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{})
	gateway := "fe80::1"
	for name, router := range w.Net.Routers {
		w.run(router, "ip", "addr", "add", gateway+"/64", "dev", name, "nodad")
		w.run(w.Net.Client, "ip", "-6", "route", "del", "default", "dev", name)
		w.run(w.Net.Client, "ip", "-6", "route", "add", "default", "via", gateway, "dev", name, "metric", map[string]string{"dsl": "100", "lte": "200"}[name])
		w.run(w.Net.Client, "ip", "-4", "addr", "flush", "dev", name)
	}
	w.must(w.ServerAt(w.Client, daemon.Options{}, netip.AddrPortFrom(w.Net.ServerAddr6, daemon.Port)))
	before := w.snapshot(w.Net.Client)
	w.must(w.Setup.Start(w.patient()))
	w.bothCarry("dsl", "lte")
	w.must(w.Stop())
	w.same(w.Net.Client, before)
}

// bothCarry downloads until each of two emulated uplinks had a fair part, by
// the emulator's counters and by braid's own.
func (w *world) bothCarry(names ...string) {
	w.Helper()
	const n = 20_000_000
	var own, wire map[string]uint64
	for end := time.Now().Add(patience); ; {
		said, was := w.received(names)
		w.curl(w.Net.InternetAddr4, n)
		saidNow, now := w.received(names)
		own, wire = map[string]uint64{}, map[string]uint64{}
		fair := true
		for _, name := range names {
			own[name], wire[name] = saidNow[name]-said[name], now[name]-was[name]
			fair = fair && own[name] > n/10 && wire[name] > n/10
		}
		w.Logf("of %d bytes %v by the links, %v by the status", n, wire, own)
		if fair {
			return
		}
		if time.Now().After(end) {
			s, _ := w.Client.Status(w.ctx)
			w.Fatalf("not all of %v carry: %+v", names, s.Uplinks)
		}
	}
}

// received is what came down each uplink until now, as braid says and as the
// emulator does.
func (w *world) received(names []string) (said, carried map[string]uint64) {
	w.Helper()
	said, carried = map[string]uint64{}, map[string]uint64{}
	for _, name := range names {
		said[name], carried[name] = w.uplink(name).RxBytes, w.carried(name).bytes
	}
	return said, carried
}

// oneRouter is a world whose client has a cable and Wi-Fi, fast1 and wlan, to one
// router, in one network. Nothing runs yet.
func oneRouter(t *testing.T) (w *world, router *lab.Host) {
	t.Helper()
	w = prepare(t, topology.Fast(1), daemon.Options{})
	router = w.Net.Routers["fast1"]
	w.must(w.lab.Veth(w.Net.Client, "wlan", router, "wlan"))
	w.run(router, "sh", "-e", "-c", `ip link add lan type bridge; ip link set lan up
		ip addr flush dev fast1; ip link set fast1 master lan; ip link set wlan master lan
		ip addr add 10.1.0.1/24 dev lan; ip addr add 2001:db8:1::1/64 dev lan nodad`)
	w.run(w.Net.Client, "sh", "-e", "-c", `ip addr add 10.1.0.3/24 dev wlan; ip addr add 2001:db8:1::3/64 dev wlan nodad
		ip route add default via 10.1.0.1 dev wlan metric 600; ip route add default via 2001:db8:1::1 dev wlan metric 600`)
	return w, router
}

// Two uplinks of one network that do meet: a cable and Wi-Fi to one router, as
// of a laptop on a desk. The kernel would answer for either address on both, and
// what comes for one by the other's interface is lost.
func TestUplinksOfOneRouter(t *testing.T) {
	t.Parallel()
	w, router := oneRouter(t)
	before := w.snapshot(w.Net.Client)
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	was := map[string]uint64{}
	for _, name := range []string{"fast1", "wlan"} {
		c, err := w.Net.Client.Counters(name)
		w.must(err)
		was[name] = c.RxBytes
	}
	for range 3 {
		// What the router has learnt before must not be what makes it work.
		w.run(router, "ip", "neigh", "flush", "dev", "lan")
		w.curl(w.Net.InternetAddr4, 50_000_000)
	}
	for name, bytes := range was {
		c, err := w.Net.Client.Counters(name)
		w.must(err)
		if u := w.uplink(name); c.RxBytes < bytes+5_000_000 || u.State != "up" || u.Deaths != 0 {
			t.Errorf("%d bytes came by %s: %+v", c.RxBytes-bytes, name, u)
		}
	}
	w.must(w.Stop())
	w.same(w.Net.Client, before)
}
