//go:build packages

package install

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block is what a guide lets its reader type, and what it says he will see.
type block struct {
	section  string // the heading above it
	commands string
	sees     string // lines, "…" stands for anything; "" where nothing is said
}

// readGuide reads the blocks of a guide, word for word:
//
//	```sh
//	commands
//	```
//	some words, and at once or never
//	```text
//	what they print
//	```
func readGuide(t *testing.T, name string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	section, language := "", ""
	for line := range strings.Lines(string(text)) {
		fence, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && language == "":
			if language = fence; language == "sh" {
				list = append(list, block{section: section})
			} else if language != "text" || len(list) == 0 || list[len(list)-1].sees != "" {
				t.Fatalf("%s: a block of %q that follows no commands", name, fence)
			}
		case fenced:
			language = ""
		case language == "sh":
			list[len(list)-1].commands += line
		case language == "text":
			list[len(list)-1].sees += line
		case strings.HasPrefix(line, "## "):
			section = strings.TrimSpace(line[3:])
		}
	}
	if len(list) < 3 {
		t.Fatalf("%s: %d blocks", name, len(list))
	}
	return list
}

// sections are those blocks that stand below one of some headings.
func sections(blocks []block, names ...string) (list []block) {
	for _, b := range blocks {
		for _, name := range names {
			if b.section == name {
				list = append(list, b)
			}
		}
	}
	return list
}

// changes are commands that are run once, whatever they print.
var changes = regexp.MustCompile(`apt-get|server init|braid invite|braid up|cat >`)

// follow runs blocks as their reader would, in root's home, and compares what they
// print. Those that only look are run again until it is what the guide says.
func (r *real) follow(blocks []block) {
	r.Helper()
	if len(blocks) == 0 {
		r.Fatal("the guide has no such section")
	}
	for _, b := range blocks {
		said := ""
		look := func() bool {
			out, err := r.system.Run(r.Context(), "sh", "-e", "-c", "cd /root; exec 2>&1\n"+b.commands)
			if said = string(out); err != nil {
				said += err.Error()
			}
			return err == nil && seen(b.sees, string(out))
		}
		if changes.MatchString(b.commands) && !look() {
			r.Fatalf("%s: %q says\n%s\nwhere the guide says\n%s", r.role, b.commands, said, b.sees)
		}
		for end := time.Now().Add(patience); !changes.MatchString(b.commands) && !look(); time.Sleep(200 * time.Millisecond) {
			if time.Now().After(end) {
				r.Fatalf("%s: %q says after %v\n%s\nwhere the guide says\n%s", r.role, b.commands, patience, said, b.sees)
			}
		}
		r.Logf("%s# %s%s", r.role, b.commands, said)
	}
}

// seen reports whether all lines of want are among those of got, in their order.
func seen(want, got string) bool {
	lines := strings.Split(got, "\n")
	for line := range strings.Lines(want) {
		parts := strings.Split(strings.TrimSpace(line), "…")
		for i := range parts {
			// Columns may be wider than in the guide.
			parts[i] = strings.Join(strings.Fields(regexp.QuoteMeta(strings.TrimSpace(parts[i]))), `\s+`)
		}
		pattern := regexp.MustCompile(`^\s*` + strings.Join(parts, ".*") + `\s*$`)
		for {
			if len(lines) == 0 {
				return false
			}
			found := pattern.MatchString(lines[0])
			if lines = lines[1:]; found {
				break
			}
		}
	}
	return true
}
