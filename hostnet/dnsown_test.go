package hostnet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBeyondHost(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(dir, "none")
	stub := write("stub", "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n")
	links := write("links", "nameserver 192.168.1.1\nnameserver\nnameserver 2001:db8::53\nnameserver 192.168.1.1\nnameserver x\nnameserver fe80::1%eth0\nnameserver 9.9.9.9")
	for name, test := range map[string]struct {
		list  string
		files []string
		want  []string
	}{
		"nothing":           {"", []string{none}, nil},
		"a stub alone":      {"127.0.0.53", []string{stub, none}, []string{"127.0.0.53"}},
		"our own alone":     {"127.98.0.53", []string{stub, none}, nil},
		"beyond the stub":   {"127.0.0.53", []string{stub, none, links}, []string{"192.168.1.1", "2001:db8::53", "fe80::1%eth0"}},
		"without any stub":  {"127.0.0.53 192.0.2.53 ::", []string{links}, []string{"192.0.2.53"}},
		"some IPv4 as IPv6": {"::ffff:192.0.2.53 192.0.2.53 ::ffff:127.0.0.1", []string{links}, []string{"192.0.2.53"}},
	} {
		var got []string
		for _, a := range beyondHost(addresses(strings.Fields(test.list)...), test.files...) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
