package probe_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/probe"
)

const ms = time.Millisecond

var (
	clientAddr = netip.MustParseAddr("10.0.0.1")
	serverAddr = netip.MustParseAddr("10.0.0.2")
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect returns two hosts with a link.
func connect(t *testing.T, s emulator.Shape) (client, server *lab.Host, link *lab.Link) {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.Name())
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	client, err = l.Host("client")
	check(t, err)
	server, err = l.Host("server")
	check(t, err)
	link, err = l.Link(client, "eth", server, "eth", lab.LinkConfig{AToB: s, BToA: s})
	check(t, err)
	check(t, client.AddAddress("eth", netip.PrefixFrom(clientAddr, 24)))
	check(t, server.AddAddress("eth", netip.PrefixFrom(serverAddr, 24)))
	return client, server, link
}

func TestContent(t *testing.T) {
	for _, n := range []int64{0, 1, 1 << 16, 200_001} {
		read, err := io.ReadAll(iotest.OneByteReader(probe.Content(n)))
		check(t, err)
		var written bytes.Buffer
		_, err = io.Copy(&written, probe.Content(n))
		check(t, err)
		sum := sha256.Sum256(read)
		if int64(len(read)) != n || !bytes.Equal(read, written.Bytes()) || hex.EncodeToString(sum[:]) != probe.SHA256(n) {
			t.Errorf("%d bytes: %d read, %d written, sum %x", n, len(read), written.Len(), sum)
		}
	}
	// Exchanged blocks are noticed.
	b, err := io.ReadAll(probe.Content(2 << 16))
	check(t, err)
	if bytes.Equal(b[:1<<16], b[1<<16:]) {
		t.Error("two blocks are equal")
	}
}

func TestHTTP(t *testing.T) {
	client, server, _ := connect(t, emulator.Shape{Rate: 50 * emulator.Mbps, Delay: 5 * ms})
	s, err := probe.ServeHTTP(server, ":80")
	check(t, err)
	const n = 3_000_001
	m := probe.NewMeter()
	got, err := probe.Download(t.Context(), client, s.URL(serverAddr, n), m)
	check(t, err)
	if got.Bytes != n || got.SHA256 != probe.SHA256(n) || m.Total() != n {
		t.Errorf("downloaded %+v, metered %d", got, m.Total())
	}
	if r := got.Rate(); r < 10*emulator.Mbps || r > 50*emulator.Mbps {
		t.Errorf("downloaded at %v over 50 Mb/s", r)
	}
	got, err = probe.Upload(t.Context(), client, s.URL(serverAddr, 0), n)
	check(t, err)
	if got.Bytes != n || got.SHA256 != probe.SHA256(n) || s.Uploads.Total() != n {
		t.Errorf("uploaded %+v, metered %d", got, s.Uploads.Total())
	}
	out, err := client.Run(t.Context(), "sh", "-c", "curl -s "+s.URL(serverAddr, 100_000)+" | sha256sum")
	check(t, err)
	if !strings.HasPrefix(string(out), probe.SHA256(100_000)) {
		t.Errorf("curl got %s", out)
	}
	if _, err := probe.Download(t.Context(), client, s.URL(serverAddr, 0)+"x", nil); err == nil {
		t.Error("a URL without a size was served")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*ms)
	defer cancel()
	got, err = probe.Download(ctx, client, s.URL(serverAddr, 1<<40), nil)
	if !errors.Is(err, context.DeadlineExceeded) || got.Bytes == 0 {
		t.Errorf("an aborted download: %+v, %v", got, err)
	}
	check(t, s.Close())
	if _, err := probe.Download(t.Context(), client, s.URL(serverAddr, 1), nil); err == nil {
		t.Error("a closed server was reached")
	}
}

func TestEcho(t *testing.T) {
	client, server, link := connect(t, emulator.Shape{Delay: 10 * ms})
	s, err := probe.ServeEcho(server, netip.AddrPortFrom(serverAddr, 0).String())
	check(t, err)
	defer s.Close()
	var r probe.EchoResult
	for range 3 { // on a machine that others use
		e, err := probe.StartEcho(client, s.Addr, 10*ms, 100)
		check(t, err)
		time.Sleep(300 * ms)
		r = e.Stop(time.Second)
		if p50 := r.Percentile(50); p50 >= 20*ms && p50 <= 22*ms && r.LongestSilence < 60*ms {
			break
		}
	}
	t.Log(r)
	if p50 := r.Percentile(50); r.Lost() != 0 || r.Sent < 15 || p50 < 20*ms || p50 > 22*ms || r.LongestSilence > 60*ms {
		t.Errorf("over 20 ms: %v", r)
	}

	e, err := probe.StartEcho(client, s.Addr, 10*ms, 0)
	check(t, err)
	time.Sleep(100 * ms)
	check(t, link.SetBlackHole(true))
	time.Sleep(200 * ms)
	check(t, link.SetBlackHole(false))
	time.Sleep(100 * ms)
	r = e.Stop(100 * ms)
	t.Log(r)
	if r.Lost() < 10 || r.LongestSilence < 190*ms || r.LongestSilence > 350*ms || r.Duplicates+r.Reordered != 0 {
		t.Errorf("with 200 ms of black hole: %v", r)
	}
}

func TestDNS(t *testing.T) {
	client, server, _ := connect(t, emulator.Shape{})
	s, err := probe.ServeDNS(server, netip.AddrPortFrom(serverAddr, 53).String(), map[string][]netip.Addr{
		"www.example.net": {netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")},
	})
	check(t, err)
	defer s.Close()
	for _, test := range []struct{ name, kind, want string }{
		{"www.example.net", "A", "192.0.2.2"},
		{"WWW.example.net", "AAAA", "2001:db8::2"},
		{"www.example.net", "MX", ""},
		{"nowhere.example.net", "A", ""},
	} {
		out, err := client.Run(t.Context(), "dig", "+short", "+tries=1", "@"+serverAddr.String(), test.name, test.kind)
		if got := strings.TrimSpace(string(out)); err != nil || got != test.want {
			t.Errorf("%s %s: %q (%v), want %q", test.name, test.kind, got, err, test.want)
		}
	}
	out, err := client.Run(t.Context(), "dig", "+tries=1", "@"+serverAddr.String(), "nowhere.example.net")
	if err != nil || !strings.Contains(string(out), "NXDOMAIN") {
		t.Errorf("an unknown name (%v): %s", err, out)
	}
	q := s.Queries()
	if len(q) != 5 || q[1].Name != "www.example.net" || q[1].Type != "TypeAAAA" || q[1].From.Addr() != clientAddr {
		t.Errorf("queries %+v", q)
	}
}

func TestSSH(t *testing.T) {
	if _, err := exec.LookPath("/usr/sbin/sshd"); err != nil {
		t.Skip("no sshd: ", err)
	}
	client, server, _ := connect(t, emulator.Shape{Delay: ms})
	s, err := probe.StartSSHD(t.Context(), server, netip.AddrPortFrom(serverAddr, 2222), t.TempDir())
	check(t, err)
	p, err := client.Start(t.Context(), s.Command(serverAddr, "echo hello from $(readlink /proc/self/ns/net); exit 7"))
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = p.Wait(ctx)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.Contains(string(p.Output()), "hello from net:") {
		t.Fatalf("ssh: %v: %s\nsshd: %s", err, p.Output(), s.Log())
	}
	check(t, s.Close())
}
