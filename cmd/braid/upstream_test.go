package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestUpstreamResolvers(t *testing.T) {
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
	beyond := write("beyond", "nameserver 192.168.1.1\nnameserver\nnameserver 2001:db8::53\nnameserver 192.168.1.1\nnameserver x\nnameserver fe80::1%eth0\nnameserver 9.9.9.9")
	for name, test := range map[string]struct {
		files []string
		want  []string
	}{
		"no file":          {[]string{none}, nil},
		"a stub alone":     {[]string{stub, none}, nil},
		"beyond the stub":  {[]string{stub, none, beyond}, []string{"192.168.1.1", "2001:db8::53", "fe80::1%eth0"}},
		"without any stub": {[]string{beyond, stub}, []string{"192.168.1.1", "2001:db8::53", "fe80::1%eth0"}},
	} {
		var got []string
		for _, a := range upstreamResolvers(test.files) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
