package config

import (
	"strings"
	"testing"
)

// Every default and example is TOML of the right type, tables stand before
// their keys, and what is not available exists.
func TestSchemas(t *testing.T) {
	for name, test := range map[string]struct {
		schema  schema
		missing []missingFeature
	}{
		"server": {serverSchema, serverMissing},
		"client": {clientSchema, clientMissing},
	} {
		s := test.schema
		seen := map[string]bool{"": true}
		for _, f := range s {
			table, _ := split(f.key)
			if !seen[strings.TrimSuffix(strings.TrimSuffix(table, "."), "[]")] || seen[f.key] {
				t.Errorf("%s: %s stands at a wrong place", name, f.key)
			}
			seen[f.key] = true
			if f.typ == typeTable || f.typ == typeTables {
				continue
			}
			if f.required && (f.def != "" || f.example == "") || !f.required && f.def == "" && f.example == "" {
				t.Errorf("%s: %s needs a default or, when it is required, an example", name, f.key)
			}
			for _, text := range []string{f.def, f.example} {
				if text == "" {
					continue
				}
				n := defaultValue(text)
				if n == nil {
					t.Errorf("%s: %s: %s is not TOML", name, f.key, text)
					continue
				}
				n.path, n.field = f.key, &f
				errs := &Errors{}
				s.checkValue(n, errs)
				if err := errs.sorted(); err != nil || n.line != 0 {
					t.Errorf("%s: %s: %v, line %d", name, f.key, err, n.line)
				}
			}
		}
		for _, m := range test.missing {
			if !seen[m.key] || m.why == "" || m.mend == "" {
				t.Errorf("%s: %+v", name, m)
			}
		}
	}
}

// Every value that is not available yet is refused, whatever else the file
// says: a row of the tables that matches nothing would be a silent lie.
func TestUnavailable(t *testing.T) {
	server := map[string]string{}
	client := map[string]string{
		"tunnel.kill_switch": "[tunnel]\nkill_switch = true",
	}
	check := func(missing []missingFeature, cases map[string]string, parse func(string) error) {
		if len(missing) != len(cases) {
			t.Errorf("%d features are missing, %d are tested", len(missing), len(cases))
		}
		for _, m := range missing {
			err := parse(cases[m.key])
			if err == nil || !strings.Contains(err.Error(), "not available in this version: "+m.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v", m.key, err)
			}
		}
	}
	check(serverMissing, server, func(text string) error {
		_, err := ParseServer([]byte("private_key_file = \"server.key\"\n"+text), "")
		return err
	})
	check(clientMissing, client, func(text string) error {
		_, err := ParseClient([]byte(expand(clientRequired)+text), "")
		return err
	})
}
