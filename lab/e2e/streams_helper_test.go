package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// streamStatus is what the tests need of the status about streams.
type streamStatus struct {
	Streams streamCounts `json:"streams"`
	Clients []struct {
		Name    string       `json:"name"`
		Streams streamCounts `json:"streams"`
	} `json:"clients"`
	Egress []struct {
		Reason    string `json:"reason"`
		Decisions int    `json:"decisions"`
	} `json:"egress"`
}

type streamCounts struct {
	Open    int         `json:"open"`
	Opened  int         `json:"opened"`
	Denied  int         `json:"denied"`
	Limited int         `json:"limited"`
	List    []streamRow `json:"list"`

	ListTotal int `json:"list_total"`
}

type streamRow struct {
	Destination netip.AddrPort `json:"destination"`
	Source      netip.AddrPort `json:"source"`
	Direction   string         `json:"direction"`
	State       string         `json:"state"`
	AgeS        float64        `json:"age_s"`
	RxBytes     int64          `json:"rx_bytes"`
	TxBytes     int64          `json:"tx_bytes"`
	RxBps       float64        `json:"rx_bps"`
	TxBps       float64        `json:"tx_bps"`
	Carrier     uint64         `json:"carrier"`
	Uplinks     []struct {
		Interface string  `json:"interface"`
		SharePct  float64 `json:"share_pct"`
	} `json:"uplinks"`
}

// statusText is what "braid status" prints about a daemon.
func (w *world) statusText(d *daemon.Daemon, args ...string) string {
	w.Helper()
	role := strings.TrimSuffix(filepath.Base(d.ConfigFile()), ".toml")
	// A program with the race detector sleeps for a second before it ends,
	// unless it is told not to.
	command := []string{"GORACE=atexit_sleep_ms=0", binary, "status", "--control", filepath.Join(d.RunDir(), role+".sock")}
	return w.run(w.Net.Core, "env", append(command, args...)...)
}

// streams is the status of a daemon's streams: a client's own, and those of
// the server's clients by name.
func (w *world) streams(d *daemon.Daemon) (own streamCounts, clients map[string]streamCounts, egress map[string]int) {
	w.Helper()
	var s streamStatus
	w.must(json.Unmarshal([]byte(w.statusText(d, "--json")), &s))
	clients, egress = map[string]streamCounts{}, map[string]int{}
	for _, c := range s.Clients {
		clients[c.Name] = c.Streams
	}
	for _, e := range s.Egress {
		egress[e.Reason] = e.Decisions
	}
	return s.Streams, clients, egress
}

// find returns the stream toward a destination, or nil.
func (s streamCounts) find(to netip.AddrPort) *streamRow {
	for i := range s.List {
		if s.List[i].Destination == to {
			return &s.List[i]
		}
	}
	return nil
}

// echoAt serves an echo at a host's address until the test ends.
func (w *world) echoAt(h *lab.Host, at netip.AddrPort) netip.AddrPort {
	w.Helper()
	s, err := probe.ServeTCPEcho(h, at.String())
	w.must(err)
	w.Cleanup(func() { w.must(s.Close()) })
	return s.Addr
}

// exchange sends bytes to an echo and compares what comes back.
func exchange(c net.Conn, n int64) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, probe.Content(n))
		sent <- err
	}()
	got, err := io.ReadAll(io.LimitReader(c, n))
	if err != nil {
		c.Close() // or the sender would wait
		return errors.Join(err, <-sent)
	}
	want, err := io.ReadAll(probe.Content(n))
	if err == nil && string(got) != string(want) {
		err = errors.New("other bytes came back")
	}
	return errors.Join(err, <-sent)
}

// travels connects to an echo, exchanges bytes, and checks at both daemons that
// the connection is a stream in the direction that the client says, or none
// ("").
func (w *world) travels(from *lab.Host, to netip.AddrPort, direction string) {
	w.Helper()
	c, err := from.DialContext(w.patient(), "tcp", to.String())
	w.must(err)
	defer c.Close()
	w.must(c.SetDeadline(time.Now().Add(patience)))
	if err := exchange(c, 400_000); err != nil {
		w.Errorf("%s to %v: %v", from.Name(), to, err)
	}
	own, _, _ := w.streams(w.Client)
	_, clients, _ := w.streams(w.Server)
	here, there := own.find(to), clients["home"].find(to)
	if direction == "" {
		if here != nil || there != nil {
			w.Errorf("%s to %v is a stream: %+v, %+v", from.Name(), to, here, there)
		}
		return
	}
	if here == nil || there == nil {
		w.Errorf("%s to %v is no stream: %+v, %+v", from.Name(), to, here, there)
		return
	}
	if here.Direction != direction || there.Direction == direction || here.State != "open" || here.RxBytes < 400_000 || here.TxBytes < 400_000 {
		w.Errorf("%s to %v: %+v, %+v", from.Name(), to, here, there)
	}
}

// refused checks that the client's host cannot connect, and is told at once.
func (w *world) refused(to netip.AddrPort) {
	w.Helper()
	w.fails(to, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.EACCES)
}
