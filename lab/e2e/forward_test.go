package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// tells serves TCP and UDP at one port of a host: each caller is told which
// address it is seen with.
func (w *world) tells(h *lab.Host, at netip.AddrPort) netip.AddrPort {
	w.Helper()
	l, err := h.Listen(w.ctx, "tcp", at.String())
	w.must(err)
	at = l.Addr().(*net.TCPAddr).AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	p, err := h.ListenPacket(w.ctx, "udp", at.String())
	w.must(err)
	w.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String())
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := p.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = p.WriteTo([]byte(from.(*net.UDPAddr).AddrPort().Addr().Unmap().String()), from)
			}
		}
	}()
	return at
}

// seenAs asks such a service from a host.
func (w *world) seenAs(from *lab.Host, network string, to netip.AddrPort) netip.Addr {
	w.Helper()
	for end := time.Now().Add(patience); ; {
		text, err := ask(w, from, network, to)
		if err == nil {
			a, err := netip.ParseAddr(text)
			w.must(err)
			return a
		}
		// A datagram may be lost.
		if network == "tcp" || time.Now().After(end) {
			w.Fatalf("%s asks %v by %s: %v", from.Name(), to, network, err)
		}
	}
}

func ask(w *world, from *lab.Host, network string, to netip.AddrPort) (string, error) {
	c, err := from.DialContext(w.patient(), network, to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if network == "tcp" {
		w.must(c.SetDeadline(time.Now().Add(patience)))
		b, err := io.ReadAll(c)
		return string(b), err
	}
	w.must(c.SetDeadline(time.Now().Add(time.Second)))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// Ports of the server lead to a client behind two NATed uplinks, and to a host
// behind it, over TCP and UDP of both families: for the internet, the server
// itself, another client and the client itself. What goes there outlives the loss
// of an uplink.
func TestPortForward(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streams", "packets"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			portForward(t, mode)
		})
	}
}

func portForward(t *testing.T, mode string) {
	c := fast()
	c.Lan, c.SecondClient = true, true
	w := begin(t, c, daemon.Options{TCP: mode, Home: `
[[client.forward]]
listen = ":2222"
protocol = "both"
to = ":22"

[[client.forward]]
listen = "203.0.113.10:6000-6001"
protocol = "both"
to = "192.168.10.2"

[[client.forward]]
listen = ":8080"
to = "192.168.10.2:80"

[[client.forward]]
listen = ":2223"
protocol = "both"
to = ":23"
source = "server"
`})
	w.must(w.Client2.Start(w.patient()))
	w.must(w.Client2.WaitUp(w.patient(), 1))
	public4, public6 := w.Net.ServerAddr4, w.Net.ServerAddr6
	w.tells(w.Net.Client, netip.AddrPortFrom(daemon.Home4, 22))
	w.tells(w.Net.Client, netip.AddrPortFrom(daemon.Home6, 22))
	w.tells(w.Net.Client, netip.AddrPortFrom(daemon.Home4, 23))
	w.tells(w.Net.Lan, netip.AddrPortFrom(w.Net.LanAddr4, 6000))
	for _, test := range []struct {
		from *lab.Host
		to   netip.AddrPort
		want netip.Addr
	}{
		{w.Net.Internet, netip.AddrPortFrom(public4, 2222), w.Net.InternetAddr4},
		{w.Net.Internet, netip.AddrPortFrom(public6, 2222), w.Net.InternetAddr6},
		{w.Net.Internet, netip.AddrPortFrom(public4, 6000), w.Net.InternetAddr4},
		{w.Net.Internet, netip.AddrPortFrom(public4, 2223), daemon.Server4},
		{w.Net.Server, netip.AddrPortFrom(public4, 2222), daemon.Server4},
		{w.Net.Server, netip.AddrPortFrom(public6, 2222), daemon.Server6},
		{w.Net.Client2, netip.AddrPortFrom(public4, 2222), daemon.Server4},
		{w.Net.Client2, netip.AddrPortFrom(public6, 2222), daemon.Server6},
		{w.Net.Lan, netip.AddrPortFrom(public4, 2222), daemon.Server4},
	} {
		for _, network := range []string{"tcp", "udp"} {
			if got := w.seenAs(test.from, network, test.to); got != test.want {
				t.Errorf("%s asks %v by %s and is seen as %v, want %v", test.from.Name(), test.to, network, got, test.want)
			}
		}
	}
	// Where nobody listens one is told so.
	if _, err := w.Net.Internet.DialContext(w.patient(), "tcp", netip.AddrPortFrom(public4, 6001).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port behind a forward: %v", err)
	}
	// The other client reaches the port, and nothing else there.
	if out, err := w.Net.Client2.Run(w.ctx, "ping", "-c", "1", "-W", "1", daemon.Home4.String()); err == nil {
		t.Errorf("one client reached the other:\n%s", out)
	}

	// Programs, and a loss while they talk.
	talkTCP, err := probe.ServeTCPEcho(w.Net.Lan, netip.AddrPortFrom(w.Net.LanAddr4, 80).String())
	w.must(err)
	talk, err := probe.StartConversation(w.ctx, w.Net.Internet, netip.AddrPortFrom(public4, 8080), 20*emulator.Mbps)
	w.must(err)
	echoes, err := probe.ServeEcho(w.Net.Lan, netip.AddrPortFrom(w.Net.LanAddr4, 6001).String())
	w.must(err)
	echo, err := probe.StartEcho(w.Net.Internet, netip.AddrPortFrom(public4, 6001), 20*time.Millisecond, 100)
	w.must(err)
	w.progressOf([]*probe.Conversation{talk})
	if mode == "streams" {
		_, clients, _ := w.streams(w.Server)
		to := netip.AddrPortFrom(w.Net.LanAddr4, 80)
		if s := clients["home"].find(to); s == nil || s.Direction != "out" || s.Source.Addr() != w.Net.InternetAddr4 {
			t.Errorf("no stream toward %v from the internet: %+v", to, clients["home"].List)
		}
	}
	for _, uplink := range []string{"fast1", "fast2"} {
		w.changed = true
		w.must(w.Net.Client.SetDown(uplink))
		w.must(w.Client.WaitUp(w.patient(), 1))
		w.progressOf([]*probe.Conversation{talk})
		answered := len(echo.Now().RTTs)
		w.eventually("answers over UDP", func() bool { return len(echo.Now().RTTs) > answered+10 })
		w.must(w.Net.Client.SetUp(uplink))
		w.must(w.Net.ConfigureUplink(uplink))
		w.must(w.Client.WaitUp(w.patient(), 2))
	}
	w.must(talk.Finish(patience))
	if r := echo.Stop(patience); r.Lost() > r.Sent/2 {
		t.Errorf("of %d echoes %d were lost", r.Sent, r.Lost())
	}
	w.must(talkTCP.Close())
	w.must(echoes.Close())

	site, err := probe.ServeHTTP(w.Net.Lan, netip.AddrPortFrom(w.Net.LanAddr4, 80).String())
	w.must(err)
	const size = 20_000_000
	file := filepath.Join(t.TempDir(), "file")
	url := strings.Replace(site.URL(public4, size), ":80/", ":8080/", 1)
	w.run(w.Net.Internet, "curl", "-sS", "--fail", "--max-time", "60", "-o", file, url)
	w.verify(file, size)
	w.must(site.Close())
	w.must(os.Remove(file))

	server, err := w.Net.Lan.Start(w.ctx, exec.Command("iperf3", "-s", "-p", "6001"))
	w.must(err)
	for _, args := range [][]string{nil, {"-R"}, {"-u", "-b", "10M"}, {"-u", "-b", "10M", "-R"}} {
		var out []byte
		w.eventually(fmt.Sprintf("iperf3 %v", args), func() bool { // until it listens, and has done with the one before
			var err error
			out, err = w.Net.Internet.Run(w.ctx, "iperf3", append([]string{"-t", "1", "-p", "6001", "-c", public4.String()}, args...)...)
			if err != nil {
				time.Sleep(200 * time.Millisecond)
			}
			return err == nil
		})
		if !strings.Contains(string(out), "receiver") {
			t.Errorf("iperf3 %v:\n%s", args, out)
		}
	}
	w.must(server.Stop(patience))
}
