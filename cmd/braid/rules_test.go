package main

import (
	"slices"
	"testing"

	"braid/config"
	"braid/scheduler/policy"
	"braid/scheduler/queue"
)

// TestPolicies: the configuration knows the policies that there are.
func TestPolicies(t *testing.T) {
	if !slices.Equal(config.Policies(), policy.Names()) {
		t.Fatalf("configuration: %v, scheduler: %v", config.Policies(), policy.Names())
	}
}

func TestPacketRules(t *testing.T) {
	c, err := config.ParseServer([]byte(`
		private_key_file = "server.key"
		[[rule]]
		match = "udp dport 5060,10000-20000 and dst 10.0.0.0/8"
		policy = "redundant"
		[[rule]]
		match = "icmp dscp ef"
		policy = "minrtt"
		[[rule]]
		match = "all"
		policy = "weighted"`), "")
	if err != nil {
		t.Fatal(err)
	}
	rules := packetRules(c.Rules)
	header := func(protocol, dscp uint8, port uint16, dst byte) *queue.Header {
		h := &queue.Header{DSCP: dscp, Key: queue.FlowKey{Kind: 4, Protocol: protocol, DstPort: port}}
		h.Key.Dst[0] = dst
		return h
	}
	for _, test := range []struct {
		h    *queue.Header
		want string
	}{
		{header(17, 0, 5060, 10), "redundant"},
		{header(17, 0, 15000, 10), "redundant"},
		{header(17, 0, 15000, 11), "weighted"},
		{header(6, 0, 15000, 10), "weighted"},
		{header(1, 46, 0, 10), "minrtt"},
		{header(1, 0, 0, 10), "weighted"},
	} {
		if got := policy.Names()[rules.Policy(test.h)]; got != test.want {
			t.Errorf("%+v: %s, want %s", test.h, got, test.want)
		}
	}
	if got := packetRules(nil).Policy(header(17, 0, 1, 1)); got != -1 {
		t.Errorf("without rules: %d", got)
	}
}

func TestPacketPolicies(t *testing.T) {
	for percent, want := range map[int]float64{5: 0.05, 100: 1, 0: -1} {
		if got := packetPolicies(nil, percent).Copies; got != want {
			t.Errorf("%d per cent: %v", percent, got)
		}
	}
}
