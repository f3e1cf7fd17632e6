package main

import (
	"bytes"
	"image"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boombuler/barcode/qr"

	"braid/config"
	"braid/crypto"
)

// From nothing to a client's files, where no daemon runs.
func TestEnrol(t *testing.T) {
	dir := t.TempDir()
	server, client := filepath.Join(dir, "server", "server.toml"), filepath.Join(dir, "client", "client.toml")
	code, stdout, stderr := command(t, "server", "init", "-c", server, "--address", "vpn.example.net,192.0.2.1:8443", "--listen", ":9443")
	if code != 0 || stdout != "next: braid server -c "+server+", then: braid invite NAME\n" {
		t.Fatalf("init: %d, %q, %q", code, stdout, stderr)
	}
	// It shall not run here: nobody is behind its socket.
	text, err := os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("control = \""+filepath.Join(dir, "none.sock")+"\"\n"), text...)
	if err := os.WriteFile(server, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadServer(server)
	if err != nil || len(cfg.Address) != 2 || cfg.Address[0].String() != "vpn.example.net:9443" || cfg.Address[1].Port != 8443 {
		t.Fatalf("%+v, %v", cfg, err)
	}
	key, err := crypto.LoadKeyFile(cfg.PrivateKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t, "server", "init", "-c", server); code != exitUsage || !strings.Contains(stderr, "--force") {
		t.Errorf("init again: %d, %q", code, stderr)
	}

	code, token, stderr := command(t, "invite", "home", "-c", server, "--route", "192.168.10.0/24")
	if code != 0 || strings.Count(token, "\n") != 1 || !strings.Contains(stderr, "no server runs here") || !strings.Contains(stderr, "10.77.0.2") {
		t.Fatalf("invite: %d, %q, %q", code, token, stderr)
	}
	if code, out, _ := command(t, "invite", "phone", "-c", server, "--qr"); code != 0 || !strings.Contains(out, "█▀") || !strings.Contains(out, "\nbraid1:") {
		t.Errorf("invite with a QR code: %d, %s", code, out)
	}
	for _, args := range [][]string{{"home"}, {""}, {"x", "--route", "10.77.0.0/24"}, {"x", "y"}, {}} {
		if code, out, stderr := command(t, append([]string{"invite", "-c", server}, args...)...); code != exitUsage || out != "" || !strings.Contains(stderr, "hint: ") {
			t.Errorf("invite %q: %d, %q, %q", args, code, out, stderr)
		}
	}
	if code, out, _ := command(t, "clients", "-c", server); code != 0 || !strings.HasPrefix(out, "home   10.77.0.2 ") || !strings.Contains(out, "192.168.10.0/24\nphone  10.77.0.3 ") {
		t.Errorf("clients: %d, %q", code, out)
	}

	up := func(args ...string) (int, string, string) {
		return command(t, append([]string{"up", "--install-only", "-c", client}, args...)...)
	}
	if code, _, stderr := up(); code != exitUsage || !strings.Contains(stderr, "braid invite") {
		t.Errorf("up with nothing: %d, %q", code, stderr)
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("\n  "+token), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, arg := range []string{strings.TrimSpace(token), file, strings.TrimSpace(token)} {
		code, stdout, stderr := up(arg)
		if code != 0 || stdout != "next: braid client -c "+client+"\n" || strings.Contains(stderr, "written") != (i == 0) {
			t.Fatalf("up %d: %d, %q, %q", i, code, stdout, stderr)
		}
	}
	c, err := config.LoadClient(client)
	if err != nil || c.ServerPublicKey != key.Public() || c.Servers[0].String() != "vpn.example.net:9443" {
		t.Fatalf("%+v, %v", c, err)
	}
	mine, err := crypto.LoadKeyFile(c.PrivateKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.LoadServer(server); err != nil || cfg.Clients[0].PublicKey != mine.Public() {
		t.Errorf("%+v, %v", cfg, err)
	}
	if info, err := os.Stat(client); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// Another token.
	_, other, _ := command(t, "invite", "other", "-c", server)
	other = strings.TrimSpace(other)
	if code, _, stderr := up(other); code != exitUsage || !strings.Contains(stderr, "of another token") || !strings.Contains(stderr, "--force") {
		t.Errorf("up with another token: %d, %q", code, stderr)
	}
	if code, _, stderr := up(other, "--force"); code != 0 {
		t.Errorf("up by force: %d, %q", code, stderr)
	}
	if old, err := crypto.LoadKeyFile(filepath.Join(dir, "client", "client.key.old")); err != nil || !old.Equal(mine) {
		t.Errorf("the old key: %v", err)
	}
	if _, err := config.LoadClient(client + ".old"); err != nil {
		t.Errorf("the old file: %v", err)
	}

	// What its owner wants is written with it, and only then.
	if code, _, stderr := up(other, "--kill-switch"); code != exitUsage || !strings.Contains(stderr, "was there before") {
		t.Errorf("a wish too late: %d, %q", code, stderr)
	}
	wished := filepath.Join(dir, "wished", "client.toml")
	for range 2 {
		if code, _, stderr := command(t, "up", other, "--install-only", "-c", wished, "--kill-switch", "--router"); code != 0 {
			t.Errorf("up with wishes: %d, %q", code, stderr)
		}
	}
	if c, err := config.LoadClient(wished); err != nil || !c.Tunnel.KillSwitch || !c.Tunnel.Forwarding {
		t.Errorf("%+v, %v", c, err)
	}
	for _, arg := range []string{"braid1:AAAA", other[:30], "/nowhere", server} {
		if code, _, stderr := up(arg); code != exitUsage || !strings.Contains(stderr, "hint: ") || strings.Contains(stderr, other[:30]) {
			t.Errorf("up %s: %d, %q", arg, code, stderr)
		}
	}

	if code, out, _ := command(t, "revoke", "home", "-c", server); code != 0 || !strings.Contains(out, "no server runs here") {
		t.Errorf("revoke: %d, %q", code, out)
	}
	if code, _, stderr := command(t, "revoke", "home", "-c", server); code != exitUsage || !strings.Contains(stderr, "there are: phone, other") {
		t.Errorf("revoke again: %d, %q", code, stderr)
	}
	// One that another reaches.
	text, err = os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server, append(text, "reach = [\"phone\"]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := command(t, "revoke", "phone", "-c", server); code != 0 || !strings.Contains(out, `client "other" no longer has it in its reach`) {
		t.Errorf("revoke: %d, %q", code, out)
	}
	// By force the key stays: clients know it.
	if code, _, stderr := command(t, "server", "init", "-c", server, "--address", "192.0.2.1", "--force"); code != 0 || !strings.Contains(stderr, "kept: ") {
		t.Errorf("init by force: %d, %q", code, stderr)
	}
	if again, err := crypto.LoadKeyFile(cfg.PrivateKeyFile); err != nil || !again.Equal(key) {
		t.Errorf("the server's key: %v", err)
	}
	if old, err := config.LoadServer(server + ".old"); err != nil || len(old.Clients) != 1 {
		t.Errorf("the old file: %+v, %v", old, err)
	}
}

func TestInitRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.toml")
	for _, args := range [][]string{
		{"--address", "169.254.1.1"}, {"--address", "http://x"}, {"--address", "a\"b"}, {"--listen", "443"}, {"--listen", "vpn.example.net:443"}, {"more"}, {"--dns", "dns.example"}, {"--service"},
	} {
		code, _, stderr := command(t, append([]string{"server", "init", "-c", path}, args...)...)
		if code != exitUsage || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%q: %d, %q", args, code, stderr)
		}
		if _, err := os.Stat(path); err == nil {
			t.Fatalf("%q: a file is there", args)
		}
	}
}

// The DNS servers for clients stand in the file from the beginning.
func TestInitWithNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.toml")
	if code, _, stderr := command(t, "server", "init", "-c", path, "--address", "192.0.2.1", "--dns", "9.9.9.9,2620:fe::fe"); code != 0 {
		t.Fatalf("%d, %q", code, stderr)
	}
	if cfg, err := config.LoadServer(path); err != nil || len(cfg.Tunnel.DNS) != 2 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// The modules of a QR code come out as they are in it, with its margin.
func TestWriteQR(t *testing.T) {
	token := "braid1:" + strings.Repeat("A", 140)
	code, err := qr.Encode(token, qr.L, qr.Auto)
	if err != nil {
		t.Fatal(err)
	}
	for _, colours := range []bool{false, true} {
		var b bytes.Buffer
		if err := writeQR(&b, token, colours); err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("\x1b[40;97m", "", "\x1b[0m", "").Replace(b.String())
		if (text != b.String()) != colours {
			t.Errorf("colours %v:\n%q", colours, b.String())
		}
		size := code.Bounds().Dx()
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if want := (size + 2*4 + 1) / 2; len(lines) != want || size+8 > 80 {
			t.Fatalf("%d lines for %d modules", len(lines), size)
		}
		for y, line := range lines {
			for x, r := range []rune(line) {
				light := [2]bool{r == '█' || r == '▀', r == '█' || r == '▄'}
				for half := range 2 {
					at := image.Pt(x-4, 2*y+half-4)
					want := at.Y < size+4
					if at.In(code.Bounds()) {
						r, _, _, _ := code.At(at.X, at.Y).RGBA()
						want = r != 0
					}
					if light[half] != want {
						t.Fatalf("module %v is light: %v", at, light[half])
					}
				}
			}
		}
	}
	if err := writeQR(io.Discard, strings.Repeat("a", 5000), false); err == nil {
		t.Error("no error for what no code holds")
	}
}

// A daemon that is no service of systemd is started by hand.
func TestUpService(t *testing.T) {
	if hasUnit("client") {
		t.Fatal("this machine has braid-client.service: the test would start it")
	}
	if code, _, stderr := command(t, "up", "--service"); code != exitUsage || !strings.Contains(stderr, "braid-client.service") {
		t.Errorf("%d, %q", code, stderr)
	}
	if code, _, stderr := command(t, "up", "--service", "-c", "/tmp/x.toml"); code != exitUsage || !strings.Contains(stderr, "alone") {
		t.Errorf("%d, %q", code, stderr)
	}
	if code, _, _ := command(t, "up", "--service", "--install-only"); code != exitUsage {
		t.Errorf("both: %d", code)
	}
}
