package main

import (
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
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	status := func() any {
		return &control.Client{Role: control.RoleClient, Session: control.Session{State: control.SessionUp}}
	}

	nowhere, err := serveMetrics(t.Context(), netip.AddrPort{}, control.RoleClient, status, log)
	if err != nil || nowhere.run(t.Context()) != nil || nowhere.Close() != nil || said.Len() > 0 {
		t.Errorf("without an address: %v, %s", err, &said)
	}

	here, err := serveMetrics(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), control.RoleClient, status, log)
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

	if _, err := serveMetrics(t.Context(), netip.MustParseAddrPort(address), control.RoleServer, status, log); err == nil || !strings.Contains(crypto.Hint(err), "metrics.listen") {
		t.Errorf("in use: %v", err)
	}

	everywhere, err := serveMetrics(t.Context(), netip.MustParseAddrPort("[::]:0"), control.RoleClient, status, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := everywhere.Close(); err != nil || !strings.Contains(said.String(), "level=WARN") {
		t.Errorf("%v: what others reach is not warned of: %s", err, &said)
	}
}
