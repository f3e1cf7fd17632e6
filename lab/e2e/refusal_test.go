package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab/daemon"
)

// A wrong key on either side is named on both.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		w := prepare(t, fast(), daemon.Options{})
		w.must(w.Server.Start(w.patient()))
		// The client makes itself a new key that the server does not know.
		key := filepath.Join(filepath.Dir(w.Client.ConfigFile()), "key")
		w.must(os.Remove(key))
		public := strings.TrimSpace(w.run(w.Net.Client, binary, "keygen", key))
		w.must(w.Client.Start(w.patient()))
		w.awaitLog(w.Client, public)
		w.awaitLog(w.Server, public)
		w.must(w.Stop())
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		w := prepare(t, fast(), daemon.Options{})
		w.must(w.Server.Start(w.patient()))
		config := w.ClientConfig(w.Client, daemon.Options{})
		other := strings.TrimSpace(w.run(w.Net.Client, binary, "keygen", filepath.Join(w.TempDir(), "other")))
		w.must(w.Client.Rewrite(strings.Replace(config, w.Server.PublicKey, other, 1)))
		w.must(w.Client.Start(w.patient()))
		w.awaitLog(w.Client, w.Server.PublicKey)
		w.awaitLog(w.Server, "hint=")
		w.must(w.Stop())
	})
}

// awaitLog waits for a text in a daemon's log.
func (w *world) awaitLog(d *daemon.Daemon, text string) {
	w.Helper()
	for end := time.Now().Add(patience); !strings.Contains(d.Log(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%q is not in the log:\n%s", text, d.Log())
		}
	}
}

// Whatever strangers send, the server goes on.
func TestNoiseAtTheServer(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	noise := make([]byte, 100_000)
	rand.Read(noise)
	// A TLS client hello with a length that lies, an HTTP request, nothing.
	for _, b := range [][]byte{noise, {0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff}, []byte("GET / HTTP/1.1\r\n\r\n"), {}} {
		for range 5 {
			// Not from the client, whose way there is through the tunnel.
			c, err := w.Net.Core.DialContext(w.ctx, "tcp", fmt.Sprintf("%v:%d", w.Net.ServerAddr4, daemon.Port))
			w.must(err)
			_, err = bytes.NewReader(b).WriteTo(c)
			if err != nil {
				t.Log(err) // the server may be quicker
			}
			c.Close()
		}
	}
	w.must(w.Server.WaitFor(w.patient(), "counting", func(s daemon.Status) bool { return s.Rejected >= 20 }))
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())
}

// braid runs the program outside of the lab and returns its exit code and what
// it wrote to standard error.
func braid(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	c := exec.Command(binary, args...)
	c.Stdout, c.Stderr = &out, &err
	var exit *exec.ExitError
	if e := c.Run(); errors.As(e, &exit) {
		code = exit.ExitCode()
	} else if e != nil {
		t.Fatal(e)
	}
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	code, public, _ := braid(t, "keygen", key)
	if code != 0 || len(strings.TrimSpace(public)) != 44 {
		t.Fatalf("keygen: %d, %q", code, public)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	if code, again, _ := braid(t, "pubkey", key); code != 0 || again != public {
		t.Errorf("pubkey: %d, %q, want %q", code, again, public)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := fmt.Sprintf("server = [\"192.0.2.1\"]\nserver_public_key = %q\nprivate_key_file = \"key\"\n", strings.TrimSpace(public))
	open := write("open", "x")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"keygen over a file", []string{"keygen", key}, 1, []string{"error: ", "exists"}},
		{"pubkey of an open file", []string{"pubkey", open}, 1, []string{"0644", "hint: chmod 600"}},
		{"unknown command", []string{"bond"}, 2, []string{`unknown command "bond"`, "hint: see: braid --help"}},
		{"unknown flag", []string{"client", "--fast"}, 2, []string{"--fast", "hint: "}},
		{"too many arguments", []string{"status", "x"}, 2, []string{"hint: see: braid status --help"}},
		{"no configuration", []string{"client", "-c", filepath.Join(dir, "none")}, 2, []string{"error: configuration", "none"}},
		{"all faults at once", []string{"client", "-c", write("bad.toml", "sevrer = 1\n[tunnel]\ntcp = \"streams\"\nkill_switch = 1\n")}, 2,
			[]string{"sevrer", "did you mean server?", "private_key_file", "server_public_key", "tunnel.kill_switch", "must be a boolean"}},
		{"no key", []string{"client", "-c", write("nokey.toml", strings.Replace(good, `"key"`, `"nokey"`, 1))}, 2, []string{"nokey", "hint: make a key with: braid keygen"}},
		{"nobody there", []string{"status", "--control", filepath.Join(dir, "s")}, 1, []string{"hint: no braid is running"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := braid(t, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("no %q in:\n%s", want, stderr)
				}
			}
		})
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := braid(t, "version"); code != 0 || !strings.HasPrefix(out, "braid ") || strings.Contains(out+stderr, string(secret)) {
		t.Errorf("version: %d, %s%s", code, out, stderr)
	}
}
