package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest guesses what the unknown key name in the table prefix was meant to
// be.
func (s schema) suggest(prefix, name string) string {
	var here []string
	for _, f := range s {
		if table, n := split(f.key); table == prefix {
			here = append(here, n)
		}
	}
	for _, f := range s {
		if f.key == prefix+name { // name has a dot, and so was quoted
			return "write it without the quotes"
		}
	}
	if n := nearest(name, here); n != "" {
		return fmt.Sprintf("did you mean %s?", n)
	}
	other, file := clientSchema, "client"
	if len(s) > 0 && &s[0] == &clientSchema[0] {
		other, file = serverSchema, "server"
	}
	// At the top of the other file it may be what this one was made of. Else: in
	// TOML a key belongs to the [table] above it, which catches out those who append
	// one at the end of the file.
	ofOther := prefix == "" && slices.ContainsFunc(other, func(f field) bool { return f.key == name })
	for _, f := range s {
		if table, n := split(f.key); n == name && !ofOther {
			return "it belongs " + f.place(table)
		}
	}
	for _, f := range other {
		if table, n := split(f.key); n == name {
			return fmt.Sprintf("it belongs in the %s's configuration, %s", file, f.place(table))
		}
	}
	return "known here: " + strings.Join(here, ", ")
}

// place says where the field stands, given its table.
func (f *field) place(table string) string {
	switch {
	case f.typ == typeTable:
		return "as [" + f.key + "]"
	case f.typ == typeTables:
		return "as " + f.header()
	case table == "":
		return "at the top of the file, above the first [table]"
	case strings.HasSuffix(table, "[]."):
		return "under a [[" + strings.ReplaceAll(strings.TrimSuffix(table, "."), "[]", "") + "]]"
	}
	return "under [" + strings.TrimSuffix(table, ".") + "]"
}

// nearest returns the candidate that name was probably meant to be, or "".
func nearest(name string, candidates []string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	const longest = 32 // nobody mistypes more, and the distance costs its square
	if len(name) > longest {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(name)/3)
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(name) < 4 {
		return best
	}
	for _, c := range candidates { // pubkey for public_key, listen_address for listen
		if within(name, c) || len(c) >= 4 && strings.Contains(name, c) {
			return c
		}
	}
	return ""
}

// within reports whether long becomes short when letters are left out.
func within(short, long string) bool {
	for i := 0; i < len(long) && short != ""; i++ {
		if long[i] == short[0] {
			short = short[1:]
		}
	}
	return short == ""
}

// distance is the number of letters to insert, delete or replace to make b of
// a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
