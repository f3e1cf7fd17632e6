// Package braid is the module's root. It holds no code, only the test that
// keeps the direction of imports.
package braid

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport says which folders of the module each folder may import, besides
// itself (docs/design.md, "Packages"). A folder that is not here must not
// exist.
var mayImport = map[string][]string{
	"config":     {"crypto"},
	"control":    {},
	"crypto":     {},
	"dnsforward": {},
	"doctor":     {},
	"hostnet":    {},
	"lab":        {},
	"mptcp":      {},
	"packaging":  {},
	"scheduler":  {},
	"tunnel":     {"crypto", "scheduler"},
	"cmd":        {"config", "control", "crypto", "dnsforward", "doctor", "hostnet", "lab", "mptcp", "scheduler", "tunnel"},
}

func TestImportDirection(t *testing.T) {
	const module = "braid"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == module {
			continue
		}
		folder := top(module, p.ImportPath)
		allowed, known := mayImport[folder]
		if !known {
			t.Errorf("%s: docs/design.md has no folder %s", p.ImportPath, folder)
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to := top(module, i)
			if to != "" && to != folder && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s may import %v only", p.ImportPath, i, folder, allowed)
			}
		}
	}
}

// top returns the first folder of a package of the module, or "".
func top(module, path string) string {
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	folder, _, _ := strings.Cut(rest, "/")
	return folder
}
