package main

import (
	"testing"

	"braid/config"
)

// A cap that comes with a reload goes on with what is remembered.
func TestCapsNeeded(t *testing.T) {
	cfg := &config.Client{State: t.TempDir(), Tunnel: config.ClientTunnel{Name: "braid0"}}
	before := openCaps(t, cfg.State)
	if err := before.saveIf(map[string]cappedUplink{"lte": {capUsage{"2026-11", 7}, 50e9}}, worthSaving); err != nil {
		t.Fatal(err)
	}
	c, err := loadCaps(cfg, discard())
	if err != nil || c.store != nil || c.used("lte").Bytes != 0 {
		t.Fatalf("without a cap: %+v, %v", c, err)
	}
	cfg.Uplinks = []config.UplinkRule{{Interface: "lte", CapBytes: 50e9}}
	for range 2 {
		if err := c.need(cfg); err != nil {
			t.Fatal(err)
		}
		if u := c.used("lte"); u.Bytes != 7 || u.Month != "2026-11" {
			t.Errorf("used: %+v", u)
		}
	}
	<-c.opened
}
