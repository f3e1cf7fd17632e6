package control

import "testing"

func TestGain(t *testing.T) {
	uplink := func(name string, rx, tx, mostRx float64) Uplink {
		return Uplink{Interface: name, State: UplinkUp, RxBps: rx, TxBps: tx, DeliverRxBps: mostRx}
	}
	dead := uplink("lte", 0, 0, 90e6)
	dead.State = UplinkDead
	tests := []struct {
		uplinks []Uplink
		want    Gain
	}{
		{nil, Gain{Text: "no uplink works"}},
		{[]Uplink{uplink("dsl", 48e6, 0, 0), dead}, Gain{Text: "no gain, one uplink works"}},
		{[]Uplink{uplink("dsl", 10e3, 0, 0), uplink("lte", 10e3, 0, 0)}, Gain{Text: "nothing to gain, next to no traffic"}},
		{[]Uplink{uplink("dsl", 40e6, 0, 50e6), uplink("lte", 10e6, 0, 0)}, Gain{1, "dsl", 50e6, "rx", "no gain, dsl alone has 50.0 Mb/s down"}},
		{[]Uplink{uplink("dsl", 48e6, 0, 50e6), uplink("lte", 27e6, 0, 0), dead}, Gain{1.5, "dsl", 50e6, "rx", "1.5 times dsl alone (50.0 Mb/s down)"}},
		{[]Uplink{uplink("dsl", 1e6, 8e6, 50e6), uplink("lte", 1e6, 8e6, 0)}, Gain{2, "dsl", 8e6, "tx", "2.0 times dsl alone (8.0 Mb/s up)"}},
	}
	for _, tt := range tests {
		if got := gainOf(tt.uplinks, "down", "up"); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
}
