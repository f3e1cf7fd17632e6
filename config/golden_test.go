package config

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"braid/crypto"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// The files in testdata hold cases:
//
//	=== name
//	a configuration
//	---
//	every fault, one a line, each followed by its hint
//
// $A to $D stand for public keys, $S for a private key. A configuration that
// starts with "+" has the required keys in its first lines.
func TestErrorMessages(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"server": func(data []byte) error { _, err := ParseServer(data, "/etc/braid"); return err },
		"client": func(data []byte) error { _, err := ParseClient(data, "/etc/braid"); return err },
	}
	required := map[string]string{
		"server": `private_key_file = "server.key"`,
		"client": "server = [\"vpn.example.net\"]\nserver_public_key = \"$A\"\nprivate_key_file = \"client.key\"",
	}
	files, err := filepath.Glob("testdata/*_errors*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("testdata is gone: %v, %v", files, err)
	}
	for _, file := range files {
		kind, _, _ := strings.Cut(filepath.Base(file), "_")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, c := range strings.Split(string(text), "=== ")[1:] {
			name, rest, _ := strings.Cut(c, "\n")
			input, want, ok := strings.Cut(rest, "---\n")
			if !ok {
				t.Fatalf("%s: %s has no ---", file, name)
			}
			doc := input
			if more, ok := strings.CutPrefix(doc, "+\n"); ok {
				doc = required[kind] + "\n" + more
			}
			got := listing(parsers[kind]([]byte(expand(doc))))
			fmt.Fprintf(&out, "=== %s\n%s---\n%s", name, input, got)
			if diff := cmp.Diff(want, got); diff != "" && !*update {
				t.Errorf("%s: %s: (-want +got)\n%s", file, name, diff)
			}
			if got == "" {
				t.Errorf("%s: %s: nothing is wrong", file, name)
			}
		}
		if *update {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// listing is what the command line would print, and checks what holds for
// every fault.
func listing(err error) string {
	if err == nil {
		return ""
	}
	var b strings.Builder
	for _, one := range err.(*Errors).List {
		fmt.Fprintf(&b, "%s\n    hint: %s\n", one.Error(), one.Hint())
	}
	return b.String()
}

// testKeys are fixed, so that messages can be compared.
var testKeys = func() (keys [4]crypto.PrivateKey) {
	for i := range keys {
		text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i + 1)}, crypto.KeySize))
		key, err := crypto.ParsePrivateKey(text)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
}()

// expand puts keys in place of $A to $D and $S.
func expand(text string) string {
	return strings.NewReplacer(
		"$A", testKeys[0].Public().String(), "$B", testKeys[1].Public().String(),
		"$C", testKeys[2].Public().String(), "$D", testKeys[3].Public().String(),
		"$S", testKeys[0].Reveal(),
	).Replace(text)
}
