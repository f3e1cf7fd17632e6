package topology

import (
	"fmt"
	"time"

	"braid/lab/emulator"
)

// queueTime is the depth of the queue before every access line, in both
// directions: about what home routers, modems and base stations hold.
const queueTime = 100 * time.Millisecond

// Line describes an uplink of the usual kind, behind NAT and with IPv6: its
// rates toward the client and away from it, and its round trip, half of which
// is each direction's delay.
func Line(name string, down, up emulator.BitRate, rtt time.Duration) Uplink {
	return Uplink{
		Name: name,
		Down: emulator.Shape{Rate: down, Delay: rtt / 2, QueueTime: queueTime},
		Up:   emulator.Shape{Rate: up, Delay: rtt / 2, QueueTime: queueTime},
		NAT:  true,
		IPv6: true,
	}
}

// WithLoss returns the uplink with a loss in each direction.
func (u Uplink) WithLoss(l emulator.Loss) Uplink {
	u.Down.Loss, u.Up.Loss = l, l
	return u
}

func dsl() Uplink { return Line("dsl", 50*emulator.Mbps, 10*emulator.Mbps, 30*time.Millisecond) }

func lte(rtt time.Duration) Uplink { return Line("lte", 30*emulator.Mbps, 10*emulator.Mbps, rtt) }

// CellA is DSL with 50/10 Mb/s and 30 ms beside LTE with 30/10 Mb/s and 60 ms.
func CellA() Config {
	return Config{Uplinks: []Uplink{dsl(), lte(60 * time.Millisecond)}}
}

// CellB is cell A with LTE at 200 ms and a loss of 0.5 %.
func CellB() Config {
	return Config{Uplinks: []Uplink{dsl(), lte(200 * time.Millisecond).WithLoss(emulator.RandomLoss(0.005))}}
}

// CellC is cell A with a loss of 2 % on LTE.
func CellC() Config {
	return Config{Uplinks: []Uplink{dsl(), lte(60 * time.Millisecond).WithLoss(emulator.RandomLoss(0.02))}}
}

// Demo is what a household may have: a cable, a neighbour's Wi-Fi, and an old
// modem, with a host in the LAN.
func Demo() Config {
	return Config{
		Uplinks: []Uplink{
			Line("eth", 50*emulator.Mbps, 10*emulator.Mbps, 20*time.Millisecond),
			Line("wifi", 30*emulator.Mbps, 10*emulator.Mbps, 40*time.Millisecond),
			Line("3g", 8*emulator.Mbps, 2*emulator.Mbps, 100*time.Millisecond),
		},
		Lan: true,
	}
}

// Fast is n unshaped uplinks, fast1 and on, for the throughput of code.
func Fast(n int) Config {
	var c Config
	for i := range n {
		c.Uplinks = append(c.Uplinks, Uplink{Name: fmt.Sprintf("fast%d", i+1), NAT: true, IPv6: true, Veth: true})
	}
	return c
}
