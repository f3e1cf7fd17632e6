package config

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The part of docs/configuration.md on what is refused. Its tables have a wrong
// setting, what braid says, and the hint. A test gives each setting to the
// loader; -update writes down what that says.
const errorsHeading = "## Every error"

// documentedError is a row of such a table.
type documentedError struct {
	files   []string // "server", "client"
	setting string   // lines
	row     string   // the whole line
	section string   // the heading above it
}

var headings = map[string][]string{
	"### In both files":  {"server", "client"},
	"### In server.toml": {"server"},
	"### In client.toml": {"client"},
}

func documentedErrors(t *testing.T) []documentedError {
	t.Helper()
	var list []documentedError
	var files []string
	section := ""
	for line := range strings.Lines(docSection(t, errorsHeading)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "### ") {
			section = line
			if files = headings[line]; files == nil {
				t.Fatalf("no file is known for %s", line)
			}
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, ok := strings.Cut(line[2:], " | ")
		if !ok || files == nil {
			t.Fatalf("not a row: %s", line)
		}
		var lines []string
		for _, code := range strings.Split(cell, "<br>") {
			lines = append(lines, strings.Trim(code, "`"))
		}
		list = append(list, documentedError{files, expand(strings.Join(lines, "\n")), line, section})
	}
	if len(list) < 150 {
		t.Fatalf("%d errors are documented", len(list))
	}
	return list
}

// complete adds the required keys that a row leaves out.
func (e documentedError) complete(file string) string {
	given := func(text, key string) bool { return regexp.MustCompile(`(?m)^` + key + ` =`).MatchString(text) }
	top, rest := e.setting, ""
	if i := regexp.MustCompile(`(?m)^\[`).FindStringIndex(top); i != nil {
		top, rest = top[:i[0]], top[i[0]:]
	}
	needed := map[string][]string{
		"server": {`private_key_file = "server.key"`},
		"client": {`server = ["vpn.example.net"]`, `server_public_key = "$A"`, `private_key_file = "client.key"`},
	}[file]
	for _, line := range needed {
		key, _, _ := strings.Cut(line, " =")
		if !given(top, key) && !strings.Contains(e.row, "`"+key+"`: missing") {
			top += "\n" + line
		}
	}
	// Of each table the keys end where the next one begins.
	tables := regexp.MustCompile(`(?m)^\[\[?[a-z.]+\]\]?$`).FindAllStringIndex(rest, -1)
	for i, n := range slices.Backward(tables) {
		header, end := rest[n[0]:n[1]], len(rest)
		if i+1 < len(tables) {
			end = tables[i+1][0]
		}
		body := rest[n[1]:end]
		var more []string
		switch header {
		case "[[client]]":
			more = []string{fmt.Sprintf(`name = "client%d"`, i), fmt.Sprintf("public_key = \"$%c\"", 'A'+i%4)}
		case "[[client.forward]]":
			more = []string{fmt.Sprintf(`listen = ":%d"`, 2000+i)}
		case "[[rule]]":
			more = []string{fmt.Sprintf(`match = "sport %d"`, 1+i), `policy = "auto"`}
		case "[[uplink]]":
			more = []string{`interface = "*"`}
		}
		for _, line := range more {
			key, _, _ := strings.Cut(line, " =")
			if !given(body, key) && !strings.Contains(e.row, "."+key+"`: missing") {
				body = "\n" + line + body
			}
		}
		rest = rest[:n[1]] + strings.TrimRight(body, "\n") + "\n" + rest[end:]
	}
	return expand(strings.TrimLeft(top, "\n") + "\n" + rest)
}

func (e documentedError) load(file string) (string, *Errors) {
	text := e.complete(file)
	var err error
	if file == "server" {
		_, err = ParseServer([]byte(text), "/etc/braid")
	} else {
		_, err = ParseClient([]byte(text), "/etc/braid")
	}
	errs, _ := errors.AsType[*Errors](err)
	return text, errs
}

// TestDocumentedErrorTables: every wrong setting of the reference gives the error
// and the hint that stand beside it, and no other.
func TestDocumentedErrorTables(t *testing.T) {
	replaced := map[[2]string]string{} // by section and row
	for _, e := range documentedErrors(t) {
		for _, file := range e.files {
			text, errs := e.load(file)
			if errs == nil || len(errs.List) != 1 {
				t.Errorf("%s: not one error: %v\n%s", file, errs, text)
				continue
			}
			one := errs.List[0]
			cell, _, _ := strings.Cut(e.row[2:], " | ")
			// The line is not the one of the row.
			says := regexp.MustCompile(`in line [0-9]+`).ReplaceAllString(one.Problem, "in line …")
			if one.Key != "" {
				says = "`" + one.Key + "`: " + says
			}
			want := fmt.Sprintf("| %s | %s | %s |", cell, says, cmp.Or(one.Mend, "–"))
			if want != e.row && !*update {
				t.Errorf("%s: documented is\n%s\nand braid says\n%s", file, e.row, want)
			}
			replaced[[2]string{e.section, e.row}] = want
		}
	}
	if !*update {
		return
	}
	const path = "../docs/configuration.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	section := ""
	for i, line := range lines {
		if strings.HasPrefix(line, "### ") {
			section = line
		}
		lines[i] = cmp.Or(replaced[[2]string{section, line}], line)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEveryKeyHasAnError: each key of a file has a wrong setting in the reference.
func TestEveryKeyHasAnError(t *testing.T) {
	index := regexp.MustCompile(`\[[0-9]+\]`)
	has := map[string]bool{}
	for _, e := range documentedErrors(t) {
		for _, file := range e.files {
			if _, errs := e.load(file); errs != nil {
				for _, one := range errs.List {
					has[file+" "+strings.TrimSuffix(index.ReplaceAllString(one.Key, "[]"), "[]")] = true
				}
			}
		}
	}
	for file, keys := range map[string]schema{"server": serverSchema, "client": clientSchema} {
		for _, f := range keys {
			if !has[file+" "+f.key] {
				t.Errorf("%s.toml: no wrong setting of %s is documented", file, f.key)
			}
		}
	}
}

// notSettings are the files of this package whose texts are not about the
// settings of a file: tokens, edits, what is not a file.
var notSettings = []string{"token.go", "edit.go", "load.go", "invite.go", "replace.go"}

// TestEveryMessageIsDocumented: every text of this package, from problems to
// hints, stands in the tables. So no error is left out of them.
func TestEveryMessageIsDocumented(t *testing.T) {
	var all strings.Builder
	for _, e := range documentedErrors(t) {
		for _, file := range e.files {
			_, errs := e.load(file)
			fmt.Fprintln(&all, errs)
		}
	}
	documented := all.String()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	verb := regexp.MustCompile(`%[\\.0-9]*[a-z]`)
	count := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || slices.Contains(notSettings, file) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil || !strings.Contains(strings.TrimSpace(text), " ") || text == "default = " {
				return true // a key, a word of the grammar
			}
			count++
			pattern := verb.ReplaceAllString(regexp.QuoteMeta(text), ".*")
			if !regexp.MustCompile(pattern).MatchString(documented) {
				t.Errorf("%s: no documented error says %q", file, text)
			}
			return true
		})
	}
	if count < 100 {
		t.Errorf("only %d texts were found", count)
	}
}
