package config

import (
	"strings"
	"testing"
)

// Every default and example is TOML of the right type, and tables stand
// before their keys.
func TestSchemas(t *testing.T) {
	for name, s := range map[string]schema{"server": serverSchema, "client": clientSchema} {
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
	}
}
