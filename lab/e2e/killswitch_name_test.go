package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab/probe"
)

// The server has a name, and this host a stub that would need the tunnel to find
// it: the client asks the resolver beyond, through the kill switch, and nobody else
// gets a question out.
func TestKillSwitchFindsServerByName(t *testing.T) {
	t.Parallel()
	const name = "vpn.example.net"
	w := killSwitchWorld(t, true)
	resolver := netip.MustParseAddr("203.0.113.1") // the core's
	for _, r := range w.Net.Routers {
		w.run(r, "nft", "insert", "rule", "inet", "detector", "prerouting", "ip", "daddr", resolver.String(), "udp", "dport", "53", "accept")
	}
	dns, err := probe.ServeDNS(w.Net.Core, netip.AddrPortFrom(resolver, 53).String(), map[string][]netip.Addr{name: {w.Net.ServerAddr4}})
	w.must(err)
	defer dns.Close()
	config, err := os.ReadFile(w.Client.ConfigFile())
	w.must(err)
	w.must(w.Client.Rewrite(strings.Replace(string(config), fmt.Sprintf("\"%v:443\"", w.Net.ServerAddr4), `"`+name+`"`, 1)))
	w.must(w.Server.Start(w.patient()))

	// Files of its own, as systemd-resolved writes them.
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "stub"), []byte("nameserver 127.0.0.53\n"), 0o644))
	w.must(os.WriteFile(filepath.Join(dir, "beyond"), []byte("nameserver "+resolver.String()+"\n"), 0o644))
	p, err := w.Net.Client.Start(w.ctx, exec.Command("unshare", "--mount", "sh", "-c",
		`cd "$1" && mount --bind stub /etc/resolv.conf && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve && cp beyond /run/systemd/resolve/resolv.conf && exec "$2" client -c "$3"`,
		"sh", dir, binary, w.Client.ConfigFile()))
	w.must(err)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for {
		if _, err := w.Net.Client.Run(w.ctx, "nft", "list", "table", "inet", "braid-killswitch-braid0"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no kill switch:\n%s", p.Output())
		case <-time.After(5 * time.Millisecond):
		}
	}
	all, _ := w.through(t, []stage{{"by name", true, func() {
		for {
			if s, err := w.Client.Status(ctx); err == nil && s.Up() == 2 {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("not up:\n%s", p.Output())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}}})
	if n := all["by name"]; n > 0 {
		t.Errorf("%d packets beside the tunnel", n)
	}
	if len(dns.Queries()) == 0 {
		t.Error("the resolver was not asked")
	}
	for _, q := range dns.Queries() {
		if q.Name != name {
			t.Errorf("a question for %s came out", q.Name)
		}
	}
	w.must(p.Stop(patience))
	w.must(w.Server.Stop())
}
