package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

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
		{Interface: "dsl", Role: RoleBond, ConfiguredRole: RoleBond, State: UplinkUp, Use: UseActive, Since: "2026-11-21T10:00:00Z",
			RTTms: 30.1, MinRTTms: 29.8, JitterMs: 0.7, RxBytes: 123_456_789, TxBytes: 4567, RxBps: 48.2e6, TxBps: 1.1e6,
			DeliverRxBps: 49.5e6, DeliverTxBps: 9.8e6, MPTCP: true, Subflows: 1, BeatsSent: 900, BeatsLost: 1},
		{Interface: "lte", Role: RoleBackup, ConfiguredRole: RoleBond, State: UplinkUp, Use: UseStandby, Reason: "its cap is nearly used up",
			RTTms: 60.2, CapBytes: 50e9, CapUsedBytes: 49.1e9, CapResets: "2026-12-01T00:00:00+01:00", MPTCP: true, Subflows: 1, Deaths: 2},
		{Interface: "wlan0", Role: RoleNever, ConfiguredRole: RoleNever, State: UplinkOff, Use: UseNone, Reason: "its role is never"},
	},
	OverflowEngaged: true, OverflowReason: "the bond uplinks are full",
	Events: []Event{{Time: "2026-11-21T10:00:00Z", Uplink: "dsl", From: UplinkProbing, To: UplinkUp, Reason: "its subflow is there"}},
	Streams: Streams{
		Open: 3, Resumed: 1, Opened: 1234, Failed: 2, BufferedBytes: 65536, ListTotal: 3,
		List: []Stream{
			{Destination: netip.MustParseAddrPort("203.0.113.107:443"), Source: netip.MustParseAddrPort("10.77.0.2:50123"),
				Direction: StreamOut, State: StreamOpen, AgeS: 12.5, RxBytes: 123_400_000, TxBytes: 100_000, RxBps: 48.1e6, TxBps: 0.1e6, Carrier: 7,
				Uplinks: []StreamUplink{{"lte", 36e6, 0, 29.3}, {"dsl", 87e6, 1e5, 70.7}}},
			{Destination: netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:8443"), Direction: StreamOut, State: StreamOpen,
				AgeS: 7500, RxBytes: 2000, Carrier: 2, Resumed: 1, Uplinks: []StreamUplink{{"dsl", 2100, 50, 99.8}, {"lte", 0, 4, 0.2}}},
			{Destination: netip.MustParseAddrPort("[2001:db8::1]:22"), Direction: StreamIn, State: StreamResuming, AgeS: 200_000},
		},
	},
	Carriers: Carriers{Bond: 6, Idle: 2, Reverse: 1},
	PacketLane: PacketLane{
		Sparse: PacketClass{Packets: 5000, Bytes: 1e6, DelayMs: 0.4}, Bulk: PacketClass{Packets: 90_000, Dropped: 30, TooOld: 2, DelayMs: 8.1},
		CopiesAtOnce: PacketCopies{Sent: 4000, Useful: 7}, CopiesAgain: PacketCopies{Sent: 5, Useful: 4, Refused: 1}, Saved: 3,
	},
	DNS: DNS{Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::9")}, SetBy: []string{"systemd-resolved", "/etc/resolv.conf"},
		Listen: "127.98.0.53", Queries: 812, Failed: 1, AskedAgain: 20},
}

var sampleServer = &Server{
	Role: RoleServer, Device: "braid0", Listen: []string{"[::]:443"},
	Clients: []Peer{
		{Name: "home", State: SessionUp, MPTCP: false, Since: "2026-11-21T10:00:00Z", Addresses: sampleClient.Session.Addresses,
			Uplinks: []Uplink{{Interface: "198.51.100.1", State: UplinkUp, RxBps: 2e9}},
			Streams: Streams{Open: 12, Opened: 100, Waiting: 1, Denied: 5, Limited: 7, ListTotal: 12, List: slices.Repeat([]Stream{{
				Destination: netip.MustParseAddrPort("192.0.2.7:25"), Direction: StreamIn, State: StreamConnecting,
			}}, 12)},
			Carriers: Carriers{Bond: 1}},
		{Name: "laptop", State: SessionDown, Addresses: sampleClient.Session.Addresses[:1]},
	},
	Egress: []EgressCount{{"default", 93}, {"loopback", 5}},
}

// judged is a status.
type judged interface{ Judge() }

func init() {
	sampleClient.Judge()
	sampleServer.Judge()
}

// serve serves status on a fresh socket until the test ends.
func serve(t *testing.T, status any) string { return serveChanges(t, status, Changes{}) }

// serveChanges is serve with something that takes changes.
func serveChanges(t *testing.T, status any, change Changes) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "braid.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() any { return status }, change) }()
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
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}, netip.Addr{})); d != "" {
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
			"carriers.idle", "carriers.reverse", "streams.waiting", "streams.opened", "streams.failed", "streams.denied",
			"streams.limited", "streams.buffered_bytes", "streams.list_total", "streams.list.destination", "streams.list.source",
			"streams.list.direction", "streams.list.state", "streams.list.age_s", "streams.list.rx_bytes", "streams.list.tx_bytes",
			"streams.list.rx_bps", "streams.list.tx_bps", "streams.list.resumed", "streams.list.carrier",
			"streams.list.uplinks.interface", "streams.list.uplinks.rx_bytes", "streams.list.uplinks.tx_bytes",
			"streams.list.uplinks.share_pct",
			"uplinks.configured_role", "uplinks.use", "uplinks.since", "uplinks.min_rtt_ms", "uplinks.jitter_ms",
			"uplinks.deliver_rx_bps", "uplinks.deliver_tx_bps", "uplinks.beats_sent", "uplinks.beats_lost", "uplinks.deaths",
			"verdict.level", "verdict.about", "verdict.title", "verdict.text",
			"gain.factor", "gain.uplink", "gain.alone_bps", "gain.direction", "gain.text", "uplinks.cap_bytes", "uplinks.cap_used_bytes", "uplinks.cap_resets", "overflow_engaged", "overflow_reason", "kill_switch",
			"events.time", "events.uplink", "events.from", "events.to", "events.reason",
			"dns.servers", "dns.set_by", "dns.reason", "dns.listen", "dns.queries", "dns.failed", "dns.asked_again", "dns.limited",
		}},
		{sampleServer, []string{"role", "verdict.level", "verdict.text", "clients.verdict.level", "clients.gain.factor", "clients.name", "clients.state", "clients.addresses", "clients.uplinks",
			"clients.streams.open", "clients.streams.list.destination", "clients.carriers.bond", "egress.reason", "egress.decisions"}},
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
working: dsl carries, lte stands by
uplink  role         state        rtt      loss   down       up        bytes
dsl     bond         up           30.1 ms  0.0 %  48.2 Mb/s  1.1 Mb/s  123.5 MB
  at most 49.5 Mb/s down, 9.8 Mb/s up of late, jitter 0.7 ms
lte     backup 98 %  up, standby  60.2 ms  0.0 %  0          0         0 B
  its cap is nearly used up
wlan0   never        off          –        0.0 %  0          0         0 B
  its role is never
bonding: no gain, dsl alone has 49.5 Mb/s down
overflow: in use, the bond uplinks are full
packets: sparse ones wait 0.4 ms, bulk 8.1 ms, 32 dropped, 4005 copies sent, 11 useful, 3 saved by a
  copy
dns: 9.9.9.9 2620:fe::9, set by systemd-resolved and /etc/resolv.conf; 812 queries, 1 failed
streams: 3 open, 1 resumed, 2 failed
stream to                    age    rate       bytes     over
203.0.113.107:443            12s    48.2 Mb/s  123.5 MB  71 % dsl, 29 % lte
[2001:db8:1234:…:5678]:8443  2h05m  0          2 kB      100 % dsl
[2001:db8::1]:22             2d     0          0 B       resuming
`},
		{"client without its nameservers", &Client{Session: Session{State: SessionDown, Device: "braid0"},
			DNS: DNS{Servers: sampleClient.DNS.Servers[:1], Reason: "change /etc/resolv.conf: read-only file system"}}, `
client down, tunnel braid0
not working: no session with the server
no uplink: no interface has a default route, or the configuration allows none
dns: 9.9.9.9
  not set: change /etc/resolv.conf: read-only file system
`},
		{"client down", &Client{Session: Session{State: SessionDown, Device: "braid0", Reason: "no usable uplink"}}, `
client down, tunnel braid0
not working: no session with the server: no usable uplink
no uplink: no interface has a default route, or the configuration allows none
`},
		{"client down behind a kill switch", &Client{Session: Session{State: SessionDown, Device: "braid0"}, KillSwitch: true}, `
client down, tunnel braid0
not working: no session with the server
kill switch: closed, nothing of the tunnel's leaves beside it
no uplink: no interface has a default route, or the configuration allows none
`},
		{"client down with streams that wait", &Client{Session: Session{State: SessionDown, Device: "braid0"}, Streams: Streams{Open: 2, Opened: 2}}, `
client down, tunnel braid0
not working: no session with the server
no uplink: no interface has a default route, or the configuration allows none
streams: 2 open, 0 resumed, 0 failed
`},
		{"server", sampleServer, `
server on [::]:443, tunnel braid0, 1 of 2 clients connected

home up, 10.77.0.2/24 fd77:b4a1::2/64, session since 2026-11-21T10:00:00Z
working on 198.51.100.1 alone; the connection is plain TCP, which uses one uplink at a time
from          role  state  rtt  loss   received   sent  bytes
198.51.100.1  –     up     –    0.0 %  2.00 Gb/s  0     0 B
streams: 12 open, 0 resumed, 0 failed, 1 waiting, 5 denied, 7 over a limit
stream to     age  rate  bytes  over
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
192.0.2.7:25  0s   0     0 B    connecting
and 2 more

laptop down, 10.77.0.2/24
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.status.(judged).Judge()
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

// The table of streams fits into 80 columns, whatever the addresses.
func TestStreamTextWidth(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.107:65535":                              "192.0.2.107:65535",
		"[2001:db8:1234::5678]:65535":                    "[2001:db8:1234::5678]:65535",
		"[2001:db8:1234:5678::1]:65535":                  "[2001:db8:1234:5678::1]:65535",
		"[2001:db8:1234:5678::12]:65535":                 "[2001:db8:1234:5678::12]:65535",
		"[2001:db8:1234:5678::123]:65535":                "[2001:db8:1234:…:123]:65535",
		"[2001:db8:1234:5678:9abc:def0:1234:5678]:65535": "[2001:db8:1234:…:5678]:65535",
		"[2001:db8:1234:5678:9abc:def0:1234:5678]:22":    "[2001:db8:1234:5678:…:5678]:22",
		"[fe80::1%a-very-long-name-of-a-zone]:22":        "[…:1%a-very-long-name-of-a-zone]:22", // of no stream
	} {
		if got := ShortAddrPort(netip.MustParseAddrPort(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	if got := ShortAddrPort(netip.AddrPort{}); got != "–" {
		t.Errorf("no address: %q", got)
	}
	s := Streams{List: []Stream{{
		Destination: netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"), State: StreamOpen,
		AgeS: 47.99 * 3600, RxBytes: 999_900_000, RxBps: 999.9e6,
		Uplinks: []StreamUplink{{"dsl", 1, 1, 71}, {"lte", 1, 1, 29}},
	}}}
	var b strings.Builder
	s.text(&b, SessionUp)
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestFormatAge(t *testing.T) {
	for seconds, want := range map[float64]string{
		-1: "0s", 0: "0s", 59.9: "59s", 60: "1m", 3599: "59m", 3600: "1h00m", 172_799: "47h59m", 172_800: "2d",
	} {
		if got := FormatAge(seconds); got != want {
			t.Errorf("%v: got %s, want %s", seconds, got, want)
		}
	}
}
