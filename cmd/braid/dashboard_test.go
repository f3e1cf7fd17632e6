package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDashboardURLs(t *testing.T) {
	host := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("2001:db8::7")}
	for _, c := range []struct {
		listen, token string
		want          []string
	}{
		{"127.0.0.1:8477", "", []string{"http://127.0.0.1:8477/"}},
		{"[::1]:80", "a+b#c", []string{"http://[::1]:80/#token=a%2Bb%23c"}},
		{"[::]:8477", "abc", []string{"http://192.168.1.7:8477/#token=abc", "http://[2001:db8::7]:8477/#token=abc"}},
		{"0.0.0.0:8477", "abc", []string{"http://192.168.1.7:8477/#token=abc"}},
	} {
		if got := dashboardURLs(netip.MustParseAddrPort(c.listen), c.token, host); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.listen, got, c.want)
		}
	}
}

// Somebody turns the dashboard on, and asks where it is.
func TestDashboardCommand(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.toml")
	ask := func(text string) (int, string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("private_key_file = \"key\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		code := run(t.Context(), []string{"dashboard", "-c", file}, &out, &errs)
		return code, out.String() + errs.String()
	}
	if code, said := ask(""); code != exitUsage || !strings.Contains(said, "[dashboard]") {
		t.Errorf("without one: %d\n%s", code, said)
	}
	if code, said := ask("[dashboard]\nlisten = \"192.0.2.7:8477\"\n"); code != exitUsage || !strings.Contains(said, "dashboard.token_file") {
		t.Errorf("without a token: %d\n%s", code, said)
	}
	code, said := ask("[dashboard]\nlisten = \"192.0.2.7:8477\"\ntoken_file = \"dashboard.token\"\n")
	token, err := os.ReadFile(filepath.Join(dir, "dashboard.token"))
	if code != exitGood || err != nil || said != "http://192.0.2.7:8477/#token="+string(token) {
		t.Errorf("%d, %v\n%s", code, err, said)
	}
}
