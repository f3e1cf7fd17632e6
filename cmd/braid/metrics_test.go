package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"braid/control"
	"braid/crypto"
)

func TestServeMetrics(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	status := func() any {
		return &control.Client{Role: control.RoleClient, Session: control.Session{State: control.SessionUp}}
	}

	here, err := serveMetrics(netip.MustParseAddrPort("127.0.0.1:0"), control.RoleClient, status, log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "level=WARN") {
		t.Errorf("loopback is warned of: %s", &said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- here.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	address := here.listener.Addr().String()
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), "\nbraid_session_up 1\n") {
		t.Errorf("%v: %s", err, b)
	}

	// Elsewhere, nowhere, and back where another one was: run goes on.
	asks := func(at string) error {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + at + "/metrics")
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	port := netip.MustParseAddrPort(address).Port()
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port), {}, netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.MustParseAddrPort(address)} {
		if err := here.move(at); err != nil {
			t.Fatalf("%v: %v", at, err)
		}
		if err := asks(address); (err == nil) != (at.IsValid() && at.Addr() != netip.MustParseAddr("127.0.0.2")) {
			t.Errorf("at %v the first address answers: %v", at, err)
		}
		if err := asks(at.String()); at.IsValid() && err != nil {
			t.Errorf("%v: %v", at, err)
		}
	}

	if _, err := serveMetrics(netip.MustParseAddrPort(address), control.RoleServer, status, log); err == nil || !strings.Contains(crypto.Hint(err), "metrics.listen") {
		t.Errorf("in use: %v", err)
	}

	everywhere, err := serveMetrics(netip.MustParseAddrPort("[::]:0"), control.RoleClient, status, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := everywhere.Close(); err != nil || strings.Count(said.String(), "level=WARN") != 2 {
		t.Errorf("%v: what others reach is not warned of: %s", err, &said)
	}
}
