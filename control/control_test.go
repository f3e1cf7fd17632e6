package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

var sampleClient = &Client{
	Role: RoleClient, Version: "1",
	Session: Session{
		State: SessionUp, ID: "00ff", Server: "192.0.2.1:443", Device: "braid0", MTU: 1500, MPTCP: true, RTTms: 31.25,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("fd77:b4a1::2/64")},
	},
	Uplinks: []Uplink{
		{Interface: "dsl", Role: "bond", State: UplinkUp, RTTms: 30.1, RxBytes: 123_456_789, TxBytes: 4567, RxBps: 48.2e6, TxBps: 1.1e6, MPTCP: true, Subflows: 1},
		{Interface: "lte", Role: "never", State: UplinkOff, Reason: "its role is never"},
	},
	Carriers: Carriers{Bond: 1},
}

var sampleServer = &Server{
	Role: RoleServer, Device: "braid0", Listen: []string{"[::]:443"},
	Clients: []Peer{
		{Name: "home", State: SessionUp, MPTCP: false, Since: "2026-11-21T10:00:00Z", Addresses: sampleClient.Session.Addresses,
			Uplinks: []Uplink{{Interface: "198.51.100.1", State: UplinkUp, RxBps: 2e9}}},
		{Name: "laptop", State: SessionDown, Addresses: sampleClient.Session.Addresses[:1]},
	},
}

// serve serves status on a fresh socket until the test ends.
func serve(t *testing.T, status any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "braid.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() any { return status }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func TestFetch(t *testing.T) {
	for _, want := range []any{sampleClient, sampleServer} {
		b, err := Fetch(t.Context(), serve(t, want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Error(d)
		}
	}
}

// The names in the JSON are a promise.
func TestFieldNames(t *testing.T) {
	tests := []struct {
		status any
		names  []string
	}{
		{sampleClient, []string{
			"role", "session.state", "session.addresses", "session.server", "uplinks.interface", "uplinks.role",
			"uplinks.state", "uplinks.reason", "uplinks.rtt_ms", "uplinks.loss_pct", "uplinks.rx_bytes", "uplinks.tx_bytes",
			"uplinks.rx_bps", "uplinks.tx_bps", "uplinks.mptcp", "streams.open", "streams.resumed", "carriers.bond", "carriers.path",
		}},
		{sampleServer, []string{"role", "clients.name", "clients.state", "clients.addresses", "clients.uplinks"}},
	}
	for _, tt := range tests {
		b, err := json.Marshal(tt.status)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range tt.names {
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
			for _, part := range strings.Split(name, ".") {
				if list, ok := v.([]any); ok {
					v = list[0]
				}
				m, _ := v.(map[string]any)
				var ok bool
				if v, ok = m[part]; !ok {
					t.Errorf("no field %s in %s", name, b)
				}
			}
		}
	}
}

func TestSocketIsPrivate(t *testing.T) {
	path := serve(t, sampleClient)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := info.Mode().Perm(); m != 0o600 {
		t.Errorf("mode %o, want 600", m)
	}
}

func TestListenWhileAnotherServes(t *testing.T) {
	path := serve(t, sampleClient)
	if _, err := Listen(path); !errors.Is(err, errInUse) {
		t.Fatalf("Listen = %v", err)
	}
	if _, err := Fetch(t.Context(), path); err != nil {
		t.Errorf("and now the first is broken: %v", err)
	}
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestListenKeepsOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Fatal("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(path); string(b) != "x" {
		t.Error("the file is gone")
	}
}

func TestFetchWithoutDaemon(t *testing.T) {
	_, err := Fetch(t.Context(), filepath.Join(t.TempDir(), "none"))
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "--control") {
		t.Fatalf("error %v", err)
	}
	if strings.Contains(err.Error(), "http://") {
		t.Errorf("an error about plumbing: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, s := range []string{`{"role":"router"}`, `[]`, `{"role":"client","uplinks":7}`, ``} {
		if v, err := Decode(json.RawMessage(s)); err == nil {
			t.Errorf("%s gave %+v", s, v)
		}
	}
}

func TestText(t *testing.T) {
	tests := []struct {
		name   string
		status any
		want   string
	}{
		{"client", sampleClient, `
client up, tunnel braid0 with 10.77.0.2/24 fd77:b4a1::2/64, server 192.0.2.1:443
uplink  role   state  rtt      loss   down       up        received  sent
dsl     bond   up     30.1 ms  0.0 %  48.2 Mb/s  1.1 Mb/s  123.5 MB  5 kB
lte     never  off    –        0.0 %  0          0         0 B       0 B   its role is never
`},
		{"client down", &Client{Session: Session{State: SessionDown, Device: "braid0", Reason: "no usable uplink"}}, `
client down, tunnel braid0
reason: no usable uplink
no uplink: no interface has a default route, or the configuration allows none
`},
		{"server", sampleServer, `
server on [::]:443, tunnel braid0, 1 of 2 clients connected

home up, 10.77.0.2/24 fd77:b4a1::2/64, session since 2026-11-21T10:00:00Z
the connection is plain TCP: one uplink only
from          role  state  rtt  loss   down       up  received  sent
198.51.100.1  –     up     –    0.0 %  2.00 Gb/s  0   0 B       0 B

laptop down, 10.77.0.2/24
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := WriteText(&b, tt.status); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), b.String()); d != "" {
				t.Error(d)
			}
		})
	}
	if err := WriteText(&strings.Builder{}, 7); err == nil {
		t.Error("a number has a text")
	}
}
