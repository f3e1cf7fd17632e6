package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"braid/crypto"
)

var (
	key1 = crypto.PublicKey{1}
	key2 = crypto.PublicKey{2}
	key3 = crypto.PublicKey{3}
)

// editable is a server.toml with all that an edit could break.
func editable() string {
	return `# my server
private_key_file = "server.key"   # beside this

[tunnel]
name = "b"  # short
packets = [
  "192.168.7.0/24",

  # the office
  "192.168.8.0/24",
]

# Anna has two.
# The first:
[[client]]
name = "one"
public_key = "` + key1.String() + `"
# routes = ["192.168.10.0/24"]

[[ "client" ]]      # the second
  name = """
two"""
  public_key = "` + key2.String() + `"
# of the rules
[[rule]]
match = "all"
policy = "minrtt"

# the end
`
}

func TestAddClient(t *testing.T) {
	text, added, err := AddClient([]byte(editable()), NewClient{Name: `Berta's "phone"`, PublicKey: key3, Routes: []string{"192.168.9.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	want := editable() + "\n[[client]]\nname = \"Berta's \\\"phone\\\"\"\npublic_key = \"" + key3.String() +
		"\"\naddresses = [\"10.77.0.4\", \"fd77:b4a1::4\"]\nroutes = [\"192.168.9.0/24\"]\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	wanted := ServerClient{
		Name: `Berta's "phone"`, PublicKey: key3, Addresses: addrs("10.77.0.4", "fd77:b4a1::4"), Routes: prefixes("192.168.9.0/24"),
	}
	if diff := cmp.Diff(wanted, added, compareAddresses); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// One that is gone gives its address to the next, and the others keep theirs.
	if text, _, err = RemoveClient(text, "one"); err != nil {
		t.Fatal(err)
	}
	if _, added, err = AddClient(text, NewClient{Name: "c", PublicKey: key1}); err != nil || added.Addresses[0] != addrs("10.77.0.3")[0] {
		t.Errorf("%+v, %v", added, err)
	}
}

func TestAddClientLineEnds(t *testing.T) {
	for _, test := range []struct{ before, between, after string }{
		{"private_key_file = 'k'", "\n\n", "\n"},
		{"private_key_file = 'k'\n", "\n", "\n"},
		{"private_key_file = 'k'\r\n", "\r\n", "\r\n"},
		{"listen = [':1']\r\nprivate_key_file = 'k'", "\r\n\r\n", "\r\n"},
		{"\nprivate_key_file = 'k'\n# the end", "\n\n", "\n"},
	} {
		text, _, err := AddClient([]byte(test.before), NewClient{Name: "a", PublicKey: key1})
		want := test.before + test.between + "[[client]]" + test.after + `name = "a"` + test.after
		if err != nil || !strings.HasPrefix(string(text), want) || strings.Count(string(text), "\r\n") > 0 != (test.after == "\r\n") {
			t.Errorf("%q, %v", text, err)
		}
	}
}

func TestRemoveClient(t *testing.T) {
	lines := strings.SplitAfter(editable(), "\n")
	for _, test := range []struct {
		name     string
		from, to int // lines that go, from 0
	}{
		{"one", 11, 18},
		{"two", 18, 23},
	} {
		got, _, err := RemoveClient([]byte(editable()), test.name)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join(slices.Concat(lines[:test.from], lines[test.to:]), "")
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

// Who is revoked is reached by nobody: his name goes from where it is, and nothing
// else does.
func TestRemoveClientThatIsReached(t *testing.T) {
	const file = `private_key_file = "k"
[[client]]
name = "one"
public_key = "$A"
reach = %s # whom it may

[[client]]
name = "two"
public_key = "$B"
reach = ["three"]

[[client]]
name = "three"
public_key = "$C"
reach = ["*"]
[[client.forward]]
listen = ":22"
`
	end := "\n[[client]]\nname = \"three\""
	for before, after := range map[string]string{
		`["two"]`:                       `[]`,
		`["two", "three"]`:              `["three"]`,
		`["three", "two"]`:              `["three"]`,
		`["three" , 'two' ,]`:           `["three" , ]`,
		`[ "two" ]`:                     `[  ]`,
		"[\n  \"three\",\n  \"two\"\n]": "[\n  \"three\",\n  \n]",
		"[\n  \"two\", # a comment, and \"two\"\n  \"three\"\n]": "[\n  # a comment, and \"two\"\n  \"three\"\n]",
		`["\u0074wo", "*"]`: `["*"]`,
	} {
		data := expand(fmt.Sprintf(file, before))
		got, reached, err := RemoveClient([]byte(data), "two")
		if err != nil || !slices.Equal(reached, []string{"one"}) {
			t.Errorf("%s: reached by %v, %v", before, reached, err)
			continue
		}
		want := expand(fmt.Sprintf(file, after))
		from, to := strings.Index(want, "\n[[client]]\nname = \"two\""), strings.Index(want, end)
		if diff := cmp.Diff(want[:from]+want[to:], string(got)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", before, diff)
		}
	}
	// Whoever reaches all names nobody.
	_, reached, err := RemoveClient([]byte(expand(fmt.Sprintf(file, `[]`))), "one")
	if err != nil || len(reached) != 0 {
		t.Errorf("reached by %v, %v", reached, err)
	}
	_, reached, err = RemoveClient([]byte(expand(fmt.Sprintf(file, `["three"]`))), "three")
	if err != nil || !slices.Equal(reached, []string{"one", "two"}) {
		t.Errorf("reached by %v, %v", reached, err)
	}
}

func TestEditRefusals(t *testing.T) {
	good := editable()
	inline := "private_key_file = 'k'\nclient = [{name = 'one', public_key = '" + key1.String() + "'}]\n"
	add := func(c NewClient) func([]byte) error {
		return func(data []byte) error { _, _, err := AddClient(data, c); return err }
	}
	remove := func(name string) func([]byte) error {
		return func(data []byte) error { _, _, err := RemoveClient(data, name); return err }
	}
	for _, test := range []struct {
		what, text string
		edit       func([]byte) error
		problem    string
		mend       string
	}{
		{"a name twice", good, add(NewClient{Name: "one", PublicKey: key3}), `there is a client "one" already`, "braid revoke one"},
		{"a key twice", good, add(NewClient{Name: "three", PublicKey: key2}), "must be this client's own key", "make a key"},
		{"no name", good, add(NewClient{PublicKey: key3}), "must not be empty", "such as"},
		{"a wrong name", good, add(NewClient{Name: "a\nb", PublicKey: key3}), "printable", "such as"},
		{"no route", good, add(NewClient{Name: "three", PublicKey: key3, Routes: []string{"10.1.0.1/24"}}), `route "10.1.0.1/24" must be a network`, "10.1.0.0/24"},
		{"the tunnel as a route", good, add(NewClient{Name: "three", PublicKey: key3, Routes: []string{"10.77.0.0/24"}}), "overlaps the tunnel's range", "leave it out"},
		{"no room", "private_key_file='k'\n[tunnel]\naddresses=['10.0.0.1/31']\n[[client]]\nname='a'\npublic_key='" + key1.String() + "'\n",
			add(NewClient{Name: "three", PublicKey: key3}), "no address is left", "larger"},
		{"inline", inline, add(NewClient{Name: "three", PublicKey: key3}), "client = […]", "[[client]]"},
		{"empty and inline", "private_key_file = 'k'\nclient = []\n", add(NewClient{Name: "three", PublicKey: key3}), "client = […]", "[[client]]"},
		{"nobody", good, remove("three"), `there is no client "three"`, "one, two"},
		{"nobody at all", "private_key_file = 'k'", remove("three"), `there is no client "three"`, "none"},
		{"inline and gone", inline, remove("one"), "not written as a [[client]]", "by hand"},
	} {
		err := test.edit([]byte(test.text))
		wrong, ok := errors.AsType[*EditError](err)
		if !ok || !strings.Contains(wrong.Problem, test.problem) || !strings.Contains(wrong.Mend, test.mend) {
			t.Errorf("%s: %v; %v", test.what, err, wrong)
		}
		faulty := []byte(test.text + "\n[nobody]\n")
		if _, ok := errors.AsType[*Errors](test.edit(faulty)); !ok {
			t.Errorf("%s, and a faulty file: %v", test.what, test.edit(faulty))
		}
	}
}

func FuzzEdit(f *testing.F) {
	f.Add([]byte(editable()), "three")
	f.Add([]byte(strings.ReplaceAll(editable(), "\n", "\r\n")), "one")
	f.Add([]byte("private_key_file = 'k'\n[[client]]\nname='a'\npublic_key='"+key1.String()+"'\n#x\n\n\n"), "a")
	f.Add([]byte("private_key_file = 'k'\nclient = []"), "b")
	f.Add([]byte(editable()+"reach = ['one',\n# 'one'\n]\n"), "one")
	addServerExample(f)
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		before, err := ParseServer(data, "")
		if err != nil {
			return
		}
		text, added, err := AddClient(data, NewClient{Name: name, PublicKey: key3})
		if err == nil {
			after, err := ParseServer(text, "")
			if err != nil || !bytes.HasPrefix(text, data) {
				t.Fatalf("%v\n%s", err, text)
			}
			if diff := cmp.Diff(append(before.Clients, added), after.Clients, compareAddresses); diff != "" {
				t.Fatalf("(-want +got)\n%s", diff)
			}
			again, _, err := RemoveClient(text, name)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if len(data) > 0 && data[len(data)-1] == '\n' && !bytes.Equal(again, data) {
				t.Fatalf("not what it was: %q, %q", data, again)
			}
		}
		for _, c := range before.Clients {
			less, _, err := RemoveClient(data, c.Name)
			if err != nil {
				continue
			}
			after, err := ParseServer(less, "")
			if err != nil || len(after.Clients) != len(before.Clients)-1 {
				t.Fatalf("without %s: %v\n%s", c.Name, err, less)
			}
			if changed := ServerChanges(data, less); !slices.Equal(changed, []string{"client"}) {
				t.Fatalf("without %s: %v", c.Name, changed)
			}
		}
	})
}

// addServerExample adds the example.
func addServerExample(f *testing.F) {
	example, err := os.ReadFile("example/server.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example, "home")
}

func TestEditFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.toml"), filepath.Join(dir, "server.toml")
	if err := os.WriteFile(file, []byte(editable()), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 12345, 23456); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real.toml", link); err != nil {
		t.Fatal(err)
	}
	for _, f := range []func([]byte) ([]byte, error){
		func([]byte) ([]byte, error) { return nil, errors.New("no") },
		func([]byte) ([]byte, error) { return []byte("listen = 7"), nil },
	} {
		if _, err := Edit(link, f); err == nil {
			t.Error("no error")
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != editable() {
			t.Errorf("after a failure: %v\n%s", err, b)
		}
	}
	changed, err := Edit(link, func(data []byte) ([]byte, error) {
		text, _, err := RemoveClient(data, "one")
		return text, err
	})
	if err != nil || len(changed.Config.Clients) != 1 || changed.Path != link || changed.Config.PrivateKeyFile != filepath.Join(dir, "server.key") {
		t.Fatalf("%+v, %v", changed, err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != string(changed.Text) || strings.Contains(string(b), "one") {
		t.Errorf("%v\n%s", err, b)
	}
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if s := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (s.Uid != 12345 || s.Gid != 23456) {
		t.Errorf("owner %d:%d", s.Uid, s.Gid)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("in the folder: %v, %v", list, err)
	}
	if _, err := Edit(filepath.Join(dir, "none.toml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// Edits of several at once come one after the other, and none is lost.
func TestEditsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.toml")
	if err := os.WriteFile(file, []byte("private_key_file = 'k'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const n = 20
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := Edit(file, func(data []byte) ([]byte, error) {
				text, _, err := AddClient(data, NewClient{Name: string(rune('a' + i)), PublicKey: crypto.PublicKey{byte(i + 1)}})
				return text, err
			})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if s, err := LoadServer(file); err != nil || len(s.Clients) != n {
		t.Errorf("%v, %+v", err, s)
	}
}

func TestChanges(t *testing.T) {
	const base = "private_key_file = 'k'\n"
	for _, test := range []struct {
		before, after string
		want          string
	}{
		{base, base, ""},
		{base, "# x\nlisten = [\":443\"]\n" + base + "client = []\n[tunnel]\nmtu = 1_500\n[limits]\n", ""},
		{base, "listen = [':444']\nprivate_key_file = 'l'\n", "listen private_key_file"},
		{base + "[tunnel]\nmtu = 1400\nnat = false\n", base + "[egress]\ndeny = [':25']\n", "tunnel.mtu tunnel.nat egress.deny"},
		{base + "[tunnel]\npackets = ['10.0.0.0/8', '172.16.0.0/12']", base + "[tunnel]\npackets = ['172.16.0.0/12', '10.0.0.0/8']", "tunnel.packets"},
		{editable(), strings.Replace(editable(), `two"`, `too"`, 1), "client"},
		{editable(), strings.Replace(editable(), "minrtt", "auto", 1), "rule"},
	} {
		if got := strings.Join(ServerChanges([]byte(test.before), []byte(test.after)), " "); got != test.want {
			t.Errorf("%q: %q, want %q", test.after, got, test.want)
		}
		if back := strings.Join(ServerChanges([]byte(test.after), []byte(test.before)), " "); back != test.want {
			t.Errorf("%q, back: %q, want %q", test.after, back, test.want)
		}
	}
	client := "server = ['a']\nserver_public_key = '" + key1.String() + "'\nprivate_key_file = 'k'\n"
	if got := ClientChanges([]byte(client), []byte(strings.Replace(client, "'a'", "'b'", 1)+"[[uplink]]\ninterface = '*'")); !slices.Equal(got, []string{"server", "uplink"}) {
		t.Errorf("client: %v", got)
	}
}

func TestInviteAddress(t *testing.T) {
	s := parseServerText(t, "listen = ['192.0.2.1:8443', ':443']\naddress = ['VPN.example.net', '192.0.2.1:22', '2001:db8::1', '[2001:db8::2]:1']\nprivate_key_file = 'k'")
	want := []HostPort{{"vpn.example.net", 8443}, {"192.0.2.1", 22}, {"2001:db8::1", 8443}, {"2001:db8::2", 1}}
	if diff := cmp.Diff(want, s.Address); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, err := ParseServer([]byte("private_key_file = 'k'\naddress = ["+strings.Repeat("'a.example', ", 2)+"'169.254.1.1']"), "")
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
}
