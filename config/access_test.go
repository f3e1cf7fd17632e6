package config

import (
	"errors"
	"strings"
	"testing"
)

func TestAccess(t *testing.T) {
	const top = "private_key_file = \"k\"\n"
	for doc, want := range map[string]Access{
		"":                             {},
		`control_group = "netadmin"`:   {Group: "netadmin"},
		`control_readers = "1000"`:     {Readers: "1000"},
		`control_readers = "dom\\x-y"`: {Readers: `dom\x-y`},
	} {
		s, err := ParseServer([]byte(top+doc), "/etc/braid")
		if err != nil {
			t.Errorf("%s: %v", doc, err)
		} else if s.Access != want {
			t.Errorf("%s: %+v", doc, s.Access)
		}
	}
	long := "/" + strings.Repeat("x", 102)
	for doc, want := range map[string]string{
		`control_group = ""`:                                       "must not be empty",
		`control_group = "a b"`:                                    "must be the name of one group, or its number",
		`control_group = "-1"`:                                     "must be the name of a group, or its number",
		`control_group = "4294967295"`:                             "must be the name of a group, or its number",
		"control_group = \"a\"\ncontrol_readers = \"a\"":           "is the group of control_group too, which may do more",
		"control = \"" + long + "\"\ncontrol_readers = \"a\"":      "must have at most 102 bytes with control_readers, not 103: the path of their socket is longer",
		`control_group = "` + strings.Repeat("x", 33) + `"`:        "must have at most 32 bytes, not 33",
		`control_group = ["a"]`:                                    "must be a string, not a list",
		"control_readers = \"x:y\"\ncontrol_group = \"x:y\"":       "must be the name of one group, or its number",
		"control = \"relative\"\ncontrol_readers = \"monitoring\"": "must be an absolute path",
	} {
		_, err := ParseServer([]byte(top+doc), "/etc/braid")
		errs, ok := errors.AsType[*Errors](err)
		if !ok || errs.List[0].Problem != want || errs.List[0].Hint() == "" {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	const top = "private_key_file = \"k\"\n"
	for text, want := range map[string]string{
		"127.0.0.1:9477": "127.0.0.1:9477", "[::1]:9477": "[::1]:9477", ":9477": "[::]:9477", "10.77.0.1:9477": "10.77.0.1:9477", "0.0.0.0:9477": "0.0.0.0:9477",
	} {
		s, err := ParseServer([]byte(top+"[metrics]\nlisten = \""+text+"\""), "/etc/braid")
		if err != nil || s.Metrics.String() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if s, err := ParseServer([]byte(top+"[metrics]\n"), "/etc/braid"); err != nil || s.Metrics.IsValid() {
		t.Errorf("without listen: %v", err)
	}
	for text, want := range map[string]string{
		"":               "must have a port",
		"127.0.0.1":      "must have a port",
		"localhost:9477": "must be an address of this host and a port, or only a port",
		"127.0.0.1:0":    `port "0" must be 1 to 65535`,
		"224.0.0.1:9477": "is a multicast address, where no server can be reached",
		"127.0.0.1:443":  "overlaps listen[0] (the default)",
		"http://x/":      `port "//x/" must be 1 to 65535`,
	} {
		_, err := ParseServer([]byte(top+"[metrics]\nlisten = \""+text+"\""), "/etc/braid")
		errs, ok := errors.AsType[*Errors](err)
		if !ok || errs.List[0].Key != "metrics.listen" || errs.List[0].Problem != want || errs.List[0].Hint() == "" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What only the host can judge is a fault of the key, in its line.
func TestFault(t *testing.T) {
	f, err := openText("server.toml", []byte("private_key_file = \"k\"\ncontrol_group = \"netadmin\"\n[tunnel]\nmtu = 1400\n"), ParseServer)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"control_group": `server.toml:2: control_group = "netadmin": is odd`,
		"tunnel.mtu":    `server.toml:4: tunnel.mtu = 1400: is odd`,
	} {
		errs, ok := errors.AsType[*Errors](f.Fault(key, "is odd", "mend it"))
		if !ok || !strings.HasSuffix(errs.List[0].Error(), want) || errs.List[0].Hint() != "mend it" {
			t.Errorf("%s: %v", key, errs)
		}
	}
}
