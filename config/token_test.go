package config

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"braid/crypto"
)

// testInvite has keys that never change.
func testInvite(t testing.TB) Invite {
	t.Helper()
	public, err := crypto.ParsePublicKey("7DDWnhP2F077qXqc8HlTk2jaW8IU86XxcKS6NMq/zHE=")
	if err != nil {
		t.Fatal(err)
	}
	private, err := crypto.ParsePrivateKey("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=")
	if err != nil {
		t.Fatal(err)
	}
	return Invite{Name: "home", ServerKey: public, Key: private, TCP: TCPStreams, Servers: []HostPort{{"192.0.2.1", 443}}}
}

func tokenOf(t testing.TB, i Invite) string {
	t.Helper()
	token, err := i.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// sameInvite compares all but keys with ==.
func sameInvite(a, b Invite) bool {
	if len(a.Servers) != len(b.Servers) || !a.Key.Equal(b.Key) {
		return false
	}
	for i := range a.Servers {
		if a.Servers[i] != b.Servers[i] {
			return false
		}
	}
	return a.Name == b.Name && a.ServerKey == b.ServerKey && a.TCP == b.TCP
}

// What its owner wants of a client stands in its file, beside what the server wants.
func TestWishes(t *testing.T) {
	i := Invite{Name: "home", Servers: []HostPort{{"vpn.example.net", 443}}, ServerKey: testKeys[0].Public(), Key: testKeys[1], TCP: TCPPackets}
	for _, w := range []Wishes{{}, {KillSwitch: true}, {Forwarding: true}, {true, true}} {
		c, err := ParseClient(i.File("client.key", w), "/etc/braid")
		if err != nil || c.Tunnel.KillSwitch != w.KillSwitch || c.Tunnel.Forwarding != w.Forwarding || c.Tunnel.TCP != TCPPackets {
			t.Errorf("%+v: %+v, %v", w, c, err)
		}
	}
}

func TestToken(t *testing.T) {
	const golden = "braid1:AFHsMNaeE_YXTvupepzweVOTaNpbwhTzpfFwpLo0yr_McQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gBGhvbWUBBMAAAgEBuxdcvGw"
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4)[:248] + ".net"
	for name, change := range map[string]func(*Invite){
		"least": func(*Invite) {},
		"all kinds": func(i *Invite) {
			i.Servers = append(i.Servers, HostPort{"2001:db8::1", 8443}, HostPort{"vpn.example.net", 1})
		},
		"packets": func(i *Invite) { i.TCP = TCPPackets },
		"name":    func(i *Invite) { i.Name = `Annä's "laptop" \ ☕` },
		"sixteen long names": func(i *Invite) {
			i.Servers = nil
			for port := range uint16(16) {
				i.Servers = append(i.Servers, HostPort{long, port + 1})
			}
		},
	} {
		want := testInvite(t)
		change(&want)
		token := tokenOf(t, want)
		if name == "least" && token != golden {
			t.Errorf("the token of version 1 is another: %s", token)
		}
		if !IsToken(token) {
			t.Errorf("%s: no token: %s", name, token)
		}
		for _, text := range []string{token, " " + token + "\n", token[:20] + "\r\n  " + token[20:]} {
			got, err := ParseToken(text)
			if err != nil || !sameInvite(got, want) {
				t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
			}
		}
		// What the client's file says is what the invite says.
		c, err := ParseClient(want.File("client.key", Wishes{}), "/etc/braid")
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, want.File("client.key", Wishes{}))
		}
		if c.ServerPublicKey != want.ServerKey || c.PrivateKeyFile != "/etc/braid/client.key" || c.Tunnel.TCP != want.TCP ||
			len(c.Servers) != len(want.Servers) || c.Servers[0] != want.Servers[0] {
			t.Errorf("%s: the file says %+v", name, c)
		}
	}
}

func TestTokenOfWrongInvites(t *testing.T) {
	for name, change := range map[string]func(*Invite){
		"no server":      func(i *Invite) { i.Servers = nil },
		"many servers":   func(i *Invite) { i.Servers = make([]HostPort, 17) },
		"a wrong server": func(i *Invite) { i.Servers[0].Host = "169.254.1.1" },
		"a large name":   func(i *Invite) { i.Servers[0].Host = "VPN.example.net" },
		"no port":        func(i *Invite) { i.Servers[0].Port = 0 },
		"no name":        func(i *Invite) { i.Name = "" },
		"no server key":  func(i *Invite) { i.ServerKey = crypto.PublicKey{} },
		"no key":         func(i *Invite) { i.Key = crypto.PrivateKey{} },
	} {
		i := testInvite(t)
		change(&i)
		if token, err := i.Token(); err == nil {
			t.Errorf("%s: %s", name, token)
		}
	}
}

// sealed is a token around what some program put into one.
func sealed(body []byte) string {
	b := append([]byte{0, 0}, body...)
	binary.BigEndian.PutUint16(b, uint16(len(body)+4))
	return tokenPrefix + tokenEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, checkOf(b)))
}

func TestTokenErrors(t *testing.T) {
	token := tokenOf(t, testInvite(t))
	raw, err := base64.RawURLEncoding.DecodeString(token[len(tokenPrefix):])
	if err != nil {
		t.Fatal(err)
	}
	body := raw[2 : len(raw)-4] // length and check apart
	with := func(at int, b ...byte) string {
		return sealed(append(append(append([]byte(nil), body[:at]...), b...), body[at+len(b):]...))
	}
	const name, servers = 64, 69 // where they begin
	for _, test := range []struct{ what, text, problem string }{
		{"nothing", "", "begin"},
		{"a word", "hello", "begin"},
		{"its beginning", "braid", "cut short"},
		{"its prefix", "braid1:", "cut short"},
		{"the next version", "braid2:" + token[7:], "version 2"},
		{"a long version", "braid" + strings.Repeat("9", 500) + ":x", "version 9999"},
		{"doubled", token + token[7:], "behind its end"},
		{"one more character", token + "A", "behind its end"},
		{"a full stop", token + ".", "characters"},
		{"padding", token + "=", "characters"},
		{"standard base64", strings.Replace(token, "_", "/", 1), "characters"},
		{"much", "braid1:" + strings.Repeat("A", 10000), "longer"},
		{"no server key", with(0, make([]byte, 32)...), "server's key"},
		{"no key", with(32, make([]byte, 32)...), "client's key"},
		{"no name", sealed(body[:name]), "too early"},
		{"an empty name", with(name, 0), "name in it"},
		{"a name with a line", with(name+1, '\n'), "name in it"},
		{"a long name", with(name, 200), "too early"},
		{"no servers", with(servers, 0), "0 server addresses"},
		{"17 servers", with(servers, 17), "17 server addresses"},
		{"two servers", with(servers, 2), "too early"},
		{"another kind", with(servers+1, 5), "unknown kind"},
		{"link-local", with(servers+2, 169, 254, 1, 1), "none"},
		{"no port", with(servers+6, 0, 0), "none"},
		{"an address as a name", sealed(append(append([]byte(nil), body[:servers+1]...), append([]byte{0, 7}, "1.2.3.4\x01\xbb"...)...)), "none"},
		{"IPv4 in IPv6", sealed(append(append([]byte(nil), body[:servers+1]...), 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4, 1, 187)), "none"},
		{"an unknown setting", sealed(append(append([]byte(nil), body...), 9, 0)), "does not know (9)"},
		{"a default", sealed(append(append([]byte(nil), body...), 1, 1, 0)), "does not know (1)"},
		{"a setting twice", sealed(append(append([]byte(nil), body...), 1, 1, 1, 1, 1, 1)), "out of order"},
		{"half a setting", sealed(append(append([]byte(nil), body...), 1, 3, 1)), "too early"},
	} {
		_, err := ParseToken(test.text)
		wrong, ok := errors.AsType[*TokenError](err)
		if !ok || !strings.Contains(wrong.Problem, test.problem) || wrong.Mend == "" {
			t.Errorf("%s: %v (want %s)", test.what, err, test.problem)
		}
	}
	for n := range len(token) {
		_, err := ParseToken(token[:n])
		if err == nil || n >= len(tokenPrefix) && !strings.Contains(err.Error(), "cut short") {
			t.Errorf("of %d characters the first %d: %v", len(token), n, err)
		}
	}
	// One character mistyped, or two exchanged.
	for i := len(tokenPrefix); i < len(token); i++ {
		for _, other := range []string{"A", "b", "9"} {
			if text := token[:i] + other + token[i+1:]; text != token {
				if _, err := ParseToken(text); err == nil {
					t.Errorf("character %d as %s: no error", i, other)
				}
			}
		}
		if i > len(tokenPrefix) && token[i] != token[i-1] {
			if _, err := ParseToken(token[:i-1] + string(token[i]) + string(token[i-1]) + token[i+1:]); err == nil {
				t.Errorf("characters %d and %d exchanged: no error", i-1, i)
			}
		}
	}
}

// Neither a token's error nor an invite shows the secret.
func TestTokenIsNotShown(t *testing.T) {
	i := testInvite(t)
	token := tokenOf(t, i)
	secret := strings.TrimRight(i.Key.Reveal(), "=")
	for n := range len(token) {
		if _, err := ParseToken(token[:n] + "!"); err == nil || strings.Contains(err.Error(), token[40:60]) {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if text := string(i.File("client.key", Wishes{})); strings.Contains(text, secret) {
		t.Errorf("the file has the key:\n%s", text)
	}
}

func FuzzToken(f *testing.F) {
	i := testInvite(f)
	f.Add(tokenOf(f, i))
	i.Servers = append(i.Servers, HostPort{"vpn.example.net", 443}, HostPort{"2001:db8::1", 443})
	i.TCP = TCPPackets
	f.Add(tokenOf(f, i))
	f.Add("braid2:AAAA")
	raw, _ := base64.RawURLEncoding.DecodeString(tokenOf(f, i)[len(tokenPrefix):])
	f.Add("raw" + string(raw[2:len(raw)-4]))
	f.Fuzz(func(t *testing.T, text string) {
		// Behind "raw" stands what some program put into a token, for no
		// fuzzing finds a check.
		if body, ok := strings.CutPrefix(text, "raw"); ok && len(body) < 1<<15 {
			text = sealed([]byte(body))
		}
		i, err := ParseToken(text)
		if err != nil {
			if wrong, ok := errors.AsType[*TokenError](err); !ok || wrong.Problem == "" || wrong.Mend == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := i.Token()
		if err != nil || again != strings.Join(strings.Fields(text), "") {
			t.Fatalf("%q: again %q, %v", text, again, err)
		}
		if _, err := ParseClient(i.File("client.key", Wishes{}), "/etc/braid"); err != nil {
			t.Fatalf("%v\n%s", err, i.File("client.key", Wishes{}))
		}
	})
}
