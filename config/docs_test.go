package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedKeys compares the tables of docs/configuration.md with the
// schemas: keys, their order, types and defaults.
func TestDocumentedKeys(t *testing.T) {
	for file, want := range map[string]schema{"server.toml": serverSchema, "client.toml": clientSchema} {
		section := docSection(t, "## "+file)
		var wantRows, gotRows []string
		for _, f := range want {
			def := ""
			if f.required {
				def = "required"
			} else if f.def != "" {
				def = "`" + f.def + "`"
			}
			wantRows = append(wantRows, fmt.Sprintf("%s: %s, default %s", f.key, f.typ, def))
		}
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if !strings.HasPrefix(line, "| `") {
				continue
			}
			if len(cells) != 6 || len(strings.TrimSpace(cells[4])) < 10 {
				t.Fatalf("not a row: %s", line)
			}
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			gotRows = append(gotRows, fmt.Sprintf("%s: %s, default %s", strings.Trim(cells[1], "`"), cells[2], cells[3]))
		}
		if diff := cmp.Diff(wantRows, gotRows); diff != "" {
			t.Errorf("%s: (-schema +documentation)\n%s", file, diff)
		}
		for _, f := range want {
			heading := regexp.MustCompile(`(?m)^### .*\b` + regexp.QuoteMeta(f.key) + `(\W|$)`)
			if !heading.MatchString(section) && f.typ != typeTable && f.typ != typeTables {
				t.Errorf("%s: %s is not explained", file, f.key)
			}
		}
	}
}

// TestDocumentedLimits: a number that changes in the code must change in the
// text.
func TestDocumentedLimits(t *testing.T) {
	for _, want := range []struct{ heading, text string }{
		{"### tunnel.mtu", fmt.Sprintf("%d to %d.", minMTU, maxMTU)},
		{"### tunnel.dns", fmt.Sprintf("At most %d addresses", dnsLimit)},
		{"### tunnel.name", fmt.Sprintf("1 to %d printable", interfaceNameLimit)},
		{"### control", fmt.Sprintf("at most %d bytes", socketPathLimit)},
		{"### client[].name", fmt.Sprintf("1 to %d bytes", clientNameLimit)},
		{"### tunnel.addresses", fmt.Sprintf("IPv4 ranges have %d to %d bits, IPv6 ranges %d to %d.", minBits4, maxBits4, minBits6, maxBits6)},
		{"### server\n", fmt.Sprintf("means port %d.", DefaultPort)},
		{"### tunnel.tcp", fmt.Sprintf("range of fewer than %d addresses", 1<<reservedHostBits)},
		{"### tunnel.congestion", fmt.Sprintf("1 to %d lower-case letters", congestionNameLimit)},
		{"### limits.streams", fmt.Sprintf("1 to %d.", maxStreams)},
		{"### limits.new_streams_per_second", fmt.Sprintf("1 to %d.", maxNewStreams)},
		{"### limits.memory", fmt.Sprintf("%dMiB to %dGiB", minMemoryBytes>>20, maxMemoryBytes>>30)},
		{"### limits.resume", fmt.Sprintf("%.0f seconds to %.0f hours", minResume.Seconds(), maxResume.Hours())},
		{"### uplink[].interface", fmt.Sprintf("at most %d bytes", interfaceNameLimit)},
	} {
		section := strings.Join(strings.Fields(docSection(t, want.heading)), " ")
		if !strings.Contains(section, want.text) {
			t.Errorf("%s: does not say %q", strings.TrimSpace(want.heading), want.text)
		}
	}
}

// TestDocumentedErrors checks that the example in the text is the truth. Of all
// that is refused TestDocumentedErrorTables does.
func TestDocumentedErrors(t *testing.T) {
	text := docSection(t, "# Configuration")
	_, config, _ := strings.Cut(text, "```toml\n")
	config, said, _ := strings.Cut(config, "```\n")
	_, said, _ = strings.Cut(said, "```text\n")
	said, _, _ = strings.Cut(said, "```")

	_, err := ParseServer([]byte(config), "")
	errs, ok := errors.AsType[*Errors](err)
	if !ok {
		t.Fatalf("nothing is wrong with\n%s", config)
	}
	errs.inFile("server.toml")
	var got strings.Builder
	for _, one := range errs.List {
		fmt.Fprintf(&got, "error: %v\nhint: %s\n", one, one.Hint())
	}
	if diff := cmp.Diff(got.String(), said); diff != "" {
		t.Errorf("(-program +documentation)\n%s", diff)
	}
}

// TestGuideSettings: what a guide lets its reader write at the end of client.toml is
// what the guide says.
func TestGuideSettings(t *testing.T) {
	text, err := os.ReadFile("../docs/guide-laptop.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			lines.WriteString(code)
		}
	}
	i := Invite{Name: "laptop", Servers: []HostPort{{"192.0.2.1", 443}}, ServerKey: testKeys[0].Public(), Key: testKeys[1]}
	c, err := ParseClient(append(i.File("client.key", Wishes{KillSwitch: true}), lines.String()...), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, lines.String())
	}
	if usb, wifi := c.Uplink("usb0"), c.Uplink("wlan0"); usb.Role != RoleBackup || usb.CapBytes != 10e9 || wifi.Role != RoleBond || !c.Tunnel.KillSwitch {
		t.Errorf("%+v, %+v", usb, wifi)
	}
}

// docSection returns the part of the documentation from a heading to the next
// of its level or above.
func docSection(t *testing.T, heading string) string {
	t.Helper()
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut("\n"+string(data), "\n"+heading)
	if !ok {
		t.Fatalf("no section %s", heading)
	}
	level := strings.IndexByte(heading, ' ')
	end := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, max(2, level)))
	if at := end.FindStringIndex(section); at != nil {
		section = section[:at[0]]
	}
	return section
}
