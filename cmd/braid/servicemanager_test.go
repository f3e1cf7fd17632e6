package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listenManager is a service manager that hears what daemons tell it.
func listenManager(t *testing.T, watchdog time.Duration) *net.UnixConn {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", "")
	return c
}

func hear(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("nothing was told: %v", err)
	}
	return string(b[:n])
}

func TestServiceManagerHears(t *testing.T) {
	c := listenManager(t, 300*time.Millisecond)
	m := newServiceManager(slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	answers, done := make(chan error), make(chan error, 1)
	go func() {
		done <- m.run(ctx, func(ctx context.Context) error {
			select {
			case err := <-answers:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	if s := hear(t, c); s != "READY=1" {
		t.Fatalf("told %q first", s)
	}
	for range 2 {
		answers <- nil
		if s := hear(t, c); s != "WATCHDOG=1" {
			t.Fatalf("told %q while it lives", s)
		}
	}
	for range 3 {
		answers <- errors.New("it hangs")
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := hear(t, c); s != "STOPPING=1" {
		t.Errorf("told %q when it hung and was stopped", s)
	}
	finished := m.reloading()
	if s := hear(t, c); !strings.HasPrefix(s, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("told %q of a reload", s)
	}
	finished()
	if s := hear(t, c); s != "READY=1" {
		t.Errorf("told %q after a reload", s)
	}
}

// Without a service manager nothing is told, and nothing fails.
func TestNoServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	ctx, stop := context.WithCancel(context.Background())
	stop()
	m := newServiceManager(slog.New(slog.DiscardHandler))
	if err := m.run(ctx, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}
