package metrics

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"braid/control"
)

var update = flag.Bool("update", false, "write the table into docs/metrics.md")

var quiet = slog.New(slog.DiscardHandler)

// gathered is what becomes of a status. prometheus.Gatherers look for what is not
// consistent: a series twice, labels out of order, a value of another type.
func gathered(t *testing.T, role string, status any) []*dto.MetricFamily {
	t.Helper()
	families, err := prometheus.Gatherers{New(role, func() any { return status })}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		labels := func(m *dto.Metric) (names []string) {
			for _, l := range m.GetLabel() {
				names = append(names, l.GetName())
			}
			return names
		}
		for _, m := range f.GetMetric() {
			if got, want := labels(m), labels(f.GetMetric()[0]); !slices.Equal(got, want) || !slices.IsSorted(got) {
				t.Errorf("%s has labels %v and %v", f.GetName(), got, want)
			}
		}
	}
	return families
}

// values are a family's by their labels: "class=bulk,reason=age".
func values(families []*dto.MetricFamily, name string) map[string]float64 {
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[strings.Join(labels, ",")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

// Each figure stands where it belongs, in base units.
func TestValues(t *testing.T) {
	client := gathered(t, control.RoleClient, fullClient("dsl"))
	server := gathered(t, control.RoleServer, fullServer(1, 1))
	for name, want := range map[string]map[string]float64{
		"braid_build_info":                                {"role=client,version=1.2.3": 1},
		"braid_session_up":                                {"": 1},
		"braid_session_rtt_seconds":                       {"": 0.031},
		"braid_carriers":                                  {"kind=bond": 9, "kind=path": 2},
		"braid_streams_opened_total":                      {"": 100},
		"braid_uplink_state":                              {"state=probing,uplink=dsl": 0, "state=up,uplink=dsl": 1, "state=late,uplink=dsl": 0, "state=dead,uplink=dsl": 0, "state=quarantined,uplink=dsl": 0, "state=off,uplink=dsl": 0},
		"braid_uplink_info":                               {"configured_role=bond,role=backup,uplink=dsl,use=active": 1},
		"braid_uplink_rtt_seconds":                        {"uplink=dsl": 0.0305},
		"braid_uplink_jitter_seconds":                     {"uplink=dsl": 0.0015},
		"braid_uplink_loss_ratio":                         {"uplink=dsl": 0.0025},
		"braid_uplink_receive_bytes_total":                {"uplink=dsl": 2e9},
		"braid_uplink_delivered_receive_bytes_per_second": {"uplink=dsl": 49e6 / 8},
		"braid_uplink_cap_used_bytes":                     {"uplink=dsl": 12e9},
		"braid_uplink_cap_resets_timestamp_seconds":       {"uplink=dsl": 1796083200},
		"braid_uplink_deaths_total":                       {"uplink=dsl": 2},
		"braid_tunnel_receive_refused_packets_total":      {"reason=spoofed": 26, "reason=isolated": 27, "reason=kernel": 28},
		"braid_packets_dropped_total":                     {"class=sparse,reason=queue": 33, "class=sparse,reason=memory": 34, "class=sparse,reason=age": 35, "class=bulk,reason=queue": 43, "class=bulk,reason=memory": 44, "class=bulk,reason=age": 45},
		"braid_packets_delay_seconds":                     {"class=sparse": 0.0037, "class=bulk": 0.0047},
		"braid_packet_copies_useful_total":                {"sent=at-once": 63, "sent=again": 73},
		"braid_dns_queries_failed_total":                  {"": 82},
	} {
		if d := cmp.Diff(want, values(client, name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for name, want := range map[string]map[string]float64{
		"braid_clients":                         {"": 1},
		"braid_session_up":                      {"client=client-0": 1},
		"braid_egress_decisions_total":          {"reason=default": 94, "reason=loopback": 95},
		"braid_uplink_rtt_seconds":              {"client=client-0,uplink=wwan0": 0.0305},
		"braid_uplink_jitter_seconds":           {},
		"braid_uplink_cap_bytes":                {},
		"braid_session_since_timestamp_seconds": {"client=client-0": 1795255200},
		"braid_packets_marked_total":            {"class=sparse,client=client-0": 36, "class=bulk,client=client-0": 46},
		"braid_uplink_info":                     {"client=client-0,configured_role=,role=backup,uplink=wwan0,use=active": 1},
	} {
		if d := cmp.Diff(want, values(server, name)); d != "" {
			t.Errorf("server: %s: %s", name, d)
		}
	}
}

// What is not known is absent, rather than 0.
func TestUnknown(t *testing.T) {
	for _, families := range [][]*dto.MetricFamily{
		gathered(t, control.RoleClient, &control.Client{Role: control.RoleClient, Uplinks: []control.Uplink{{Interface: "dsl"}}}),
		gathered(t, control.RoleServer, &control.Server{Role: control.RoleServer, Clients: []control.Peer{{Name: "home", Uplinks: []control.Uplink{{Interface: "x"}}}}}),
	} {
		for _, name := range []string{
			"braid_session_rtt_seconds", "braid_session_since_timestamp_seconds", "braid_uplink_rtt_seconds", "braid_uplink_min_rtt_seconds", "braid_uplink_jitter_seconds",
			"braid_uplink_delivered_receive_bytes_per_second", "braid_uplink_cap_bytes", "braid_uplink_cap_used_bytes", "braid_dns_queries_total", "braid_uplink_state_since_timestamp_seconds",
		} {
			if v := values(families, name); len(v) > 0 {
				t.Errorf("%s: %v", name, v)
			}
		}
		if v := values(families, "braid_session_up"); len(v) != 1 {
			t.Errorf("session: %v", v)
		}
	}
}

// A client calls its uplinks as it likes; a server's metrics stand that.
func TestNamesOfPeers(t *testing.T) {
	s := fullServer(1, 0)
	for _, name := range []string{"", "\xff", "\xfe", "a\nb\"c\\", "dsl", strings.Repeat("x", 300)} {
		s.Clients[0].Uplinks = append(s.Clients[0].Uplinks, fullUplink(name))
	}
	if got := values(gathered(t, control.RoleServer, s), "braid_uplink_subflows"); len(got) != 5 {
		t.Errorf("%v", got)
	}
	for i := range 1000 {
		s.Clients[0].Uplinks = append(s.Clients[0].Uplinks, fullUplink(fmt.Sprint(i)))
	}
	if got := values(gathered(t, control.RoleServer, s), "braid_uplink_subflows"); len(got) != mostUplinks {
		t.Errorf("%d uplinks are told of", len(got))
	}
}

// The linter that promtool has finds nothing.
func TestLint(t *testing.T) {
	for role, status := range map[string]any{control.RoleClient: fullClient("dsl", "lte"), control.RoleServer: fullServer(2, 2)} {
		problems, err := promlint.NewWithMetricFamilies(gathered(t, role, status)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", role, p.Metric, p.Text)
		}
	}
}

// docs/metrics.md lists what is exposed, and nothing else.
func TestDocumented(t *testing.T) {
	type entry struct {
		kind, help string
		labels, on map[string]bool
	}
	all := map[string]*entry{}
	for role, status := range map[string]any{control.RoleClient: fullClient("dsl"), control.RoleServer: fullServer(1, 1)} {
		for _, f := range gathered(t, role, status) {
			e := all[f.GetName()]
			if e == nil {
				e = &entry{strings.ToLower(f.GetType().String()), f.GetHelp(), map[string]bool{}, map[string]bool{}}
				all[f.GetName()] = e
			}
			e.on[role] = true
			if e.help != f.GetHelp() || e.kind != strings.ToLower(f.GetType().String()) {
				t.Errorf("%s: client and server differ", f.GetName())
			}
			for _, l := range f.GetMetric()[0].GetLabel() {
				e.labels[l.GetName()] = true
			}
		}
	}
	var table strings.Builder
	table.WriteString("| metric | type | labels | of | meaning |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		var labels []string
		for _, l := range slices.Sorted(maps.Keys(e.labels)) {
			labels = append(labels, "`"+l+"`")
		}
		on := "both"
		if len(e.on) == 1 {
			on = slices.Collect(maps.Keys(e.on))[0]
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", name, e.kind, strings.Join(labels, ", "), on, e.help)
	}
	const path = "../../docs/metrics.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := strings.Index(string(b), "| metric |"), strings.LastIndex(string(b), "\n| `braid_")
	if begin < 0 || end < begin {
		t.Fatal("no table")
	}
	end += 2 + strings.IndexByte(string(b[end+1:]), '\n')
	if *update {
		if err := os.WriteFile(path, slices.Concat(b[:begin], []byte(table.String()), b[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(table.String(), string(b[begin:end])); d != "" {
		t.Errorf("(-exposed +documented)\n%s", d)
	}
}

// A scrape over HTTP, and nothing else there.
func TestServe(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, control.RoleClient, func() any { return fullClient("dsl") }, quiet) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	at := "http://" + l.Addr().String()
	res, err := http.Get(at + Path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v: %s", res.StatusCode, err, body)
	}
	for _, want := range []string{
		"# HELP braid_session_up 1 while client", "# TYPE braid_streams_opened_total counter", "\nbraid_session_up 1\n", `braid_uplink_state{state="up",uplink="dsl"} 1`, "\ngo_goroutines ", "\nprocess_cpu_seconds_total ",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	h := Handler(control.RoleClient, func() any { return fullClient() }, quiet)
	for _, test := range []struct {
		method, path string
		want         int
	}{{"GET", Path, 200}, {"GET", "/", 404}, {"POST", Path, 405}, {"GET", "/debug/pprof/", 404}} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil)); w.Code != test.want {
			t.Errorf("%s %s: %d", test.method, test.path, w.Code)
		}
	}
}

// An address that the host does not have yet.
func TestListenEarly(t *testing.T) {
	for _, address := range []string{"192.0.2.77:0", "[2001:db8::77]:0"} {
		l, err := Listen(t.Context(), address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
}

// One scrape of a server with 100 clients of 4 uplinks, from the status to the last
// byte. What others on the machine do shows in its time, and not in its CPU time.
func BenchmarkScrape(b *testing.B) {
	s := fullServer(100, 4)
	h := Handler(control.RoleServer, func() any { return s }, quiet)
	for _, coding := range []string{"identity", "gzip"} { // a Prometheus asks for the latter
		b.Run(coding, func(b *testing.B) {
			req := httptest.NewRequest("GET", Path, nil)
			req.Header.Set("Accept-Encoding", coding)
			n := 0
			b.ReportAllocs()
			var before, after unix.Rusage
			unix.Getrusage(unix.RUSAGE_SELF, &before)
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				n = w.Body.Len()
			}
			unix.Getrusage(unix.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/1e6/float64(b.N), "cpu-ms/scrape")
			b.ReportMetric(float64(n), "bytes/scrape")
		})
	}
}
