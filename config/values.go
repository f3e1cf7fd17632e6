package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"braid/crypto"
)

// fault is what is wrong with one value.
type fault struct {
	problem string // what is wrong and what is allowed
	mend    string // what to write instead
}

// at is a value with its place in the file.
type at[T any] struct {
	value T
	node  *node
}

// one reads a string; an absent or faulty one gives the zero value.
func one[T any](n *node, errs *Errors, parse func(string) (T, *fault)) T {
	var zero T
	if n == nil {
		return zero
	}
	value, wrong := parse(n.str)
	if wrong != nil {
		errs.add(n, wrong.problem, wrong.mend)
		return zero
	}
	return value
}

// each reads a list of strings and leaves out the faulty ones.
func each[T any](list *node, errs *Errors, parse func(string) (T, *fault)) []at[T] {
	var good []at[T]
	for _, n := range list.list() {
		value, wrong := parse(n.str)
		if wrong != nil {
			errs.add(n, wrong.problem, wrong.mend)
			continue
		}
		good = append(good, at[T]{value, n})
	}
	return good
}

// bare drops the places.
func bare[T any](list []at[T]) []T {
	var values []T
	for _, v := range list {
		values = append(values, v.value)
	}
	return values
}

// unique returns list without the values that another one before them has,
// which it notes with the mend.
func unique[T comparable](list []at[T], errs *Errors, mend string) []at[T] {
	seen := make(map[T]*node, len(list))
	var good []at[T]
	for _, v := range list {
		if before := seen[v.value]; before != nil {
			errs.add(v.node, "is given twice, first as "+before.place(), mend)
			continue
		}
		seen[v.value] = v.node
		good = append(good, v)
	}
	return good
}

// removeOne is the usual mend of what is given twice.
const removeOne = "remove one of them"

// notEmptyList notes an empty list; why says what it would mean.
func notEmptyList(n *node, errs *Errors, why, mend string) {
	if n != nil && len(n.items) == 0 {
		errs.add(n, "must hold at least one element: "+why, mend)
	}
}

// place is where a value stands, for messages about another one.
func (n *node) place() string {
	if n.line == 0 {
		return n.path + " (the default)"
	}
	return fmt.Sprintf("%s in line %d", n.path, n.line)
}

// choice reads one of a few words.
func choice[T ~string](allowed ...T) func(string) (T, *fault) {
	return func(text string) (T, *fault) {
		var words []string
		list := ""
		for i, word := range allowed {
			if string(word) == text {
				return word, nil
			}
			words = append(words, string(word))
			switch {
			case i == 0:
			case i == len(allowed)-1:
				list += " or "
			default:
				list += ", "
			}
			list += `"` + string(word) + `"`
		}
		mend := "write one of them"
		if near := nearest(text, words); near != "" {
			mend = `did you mean "` + near + `"?`
		}
		return "", &fault{"must be " + list, mend}
	}
}

// unit is a unit of bytes.
type unit struct {
	name  string
	bytes float64
}

// parseBytes reads a number and a unit, "1.5GB", of at least one byte.
func parseBytes(text string, units []unit) (bytes uint64, ok bool) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		number = strings.TrimSuffix(number, " ")
		// ParseFloat takes much that is no number on a bill: inf, 0x1p4, 1_0.
		if strings.Trim(number, "0123456789.") != "" {
			return 0, false
		}
		value, err := strconv.ParseFloat(number, 64)
		value = math.Round(value * u.bytes)
		if err != nil || value < 1 || value > 1e18 {
			return 0, false
		}
		return uint64(value), true
	}
	return 0, false
}

// publicKey reads a key. The value is never shown: the usual mistake is to
// give the private key.
func publicKey(n *node, errs *Errors) crypto.PublicKey {
	if n == nil {
		return crypto.PublicKey{}
	}
	key, err := crypto.ParsePublicKey(n.str)
	if err != nil {
		errs.addHidden(n, err.Error(), crypto.Hint(err))
	}
	return key
}
