package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	clientNameLimit    = 63 // bytes, as a label of the DNS
	interfaceNameLimit = 15 // bytes, the kernel's IFNAMSIZ less its zero
)

// shortened is text fit for the middle of a message.
func shortened(text string) string {
	const limit = 20
	if r := []rune(text); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return text
}

// parseClientName reads the name by which a person knows a client.
func parseClientName(text string) (string, *fault) {
	const example = `such as "home" or "anna-laptop"`
	switch {
	case text == "":
		return "", &fault{"must not be empty", example}
	case len(text) > clientNameLimit:
		return "", &fault{fmt.Sprintf("must have at most %d bytes, not %d", clientNameLimit, len(text)), example}
	case !utf8.ValidString(text) || strings.IndexFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) >= 0:
		return "", &fault{"must have printable characters only", example}
	case strings.TrimSpace(text) != text:
		return "", &fault{"must not start or end with a space", write(strings.TrimSpace(text))}
	}
	return text, nil
}

// parseDevice reads the name of the tunnel's interface.
func parseDevice(text string) (string, *fault) {
	const mend = `write "braid0"`
	if problem := interfaceName(text); problem != "" {
		return "", &fault{problem, mend}
	}
	switch text {
	case "all", "default":
		// net.ipv4.conf.all is every interface.
		return "", &fault{"must not be a name that the kernel's settings use for other things", mend}
	case "lo":
		return "", &fault{"must not be the loopback interface", mend}
	}
	// The kernel would put a number in place of %d.
	if strings.Contains(text, "%") {
		return "", &fault{"must not contain %", mend}
	}
	return text, nil
}

// interfaceName says why the kernel would not take text as a name, or "".
func interfaceName(text string) string {
	switch {
	case text == "":
		return "must not be empty"
	case text == "." || text == "..":
		return "must be the name of an interface"
	case len(text) > interfaceNameLimit:
		return fmt.Sprintf("must have at most %d bytes, not %d", interfaceNameLimit, len(text))
	}
	return interfaceLetters(text)
}

func interfaceLetters(text string) string {
	for _, r := range text {
		switch {
		case r == '/' || r == ':' || unicode.IsSpace(r):
			return "must not contain a slash, a colon or a space"
		case r > 127 || !strconv.IsPrint(r):
			return "must have printable ASCII characters only"
		}
	}
	return ""
}

// parsePattern reads a pattern for interfaces, as a shell's.
func parsePattern(text string) (string, *fault) {
	const example = `such as "ppp0" or "wwan*"`
	if text == "" {
		return "", &fault{"must not be empty", `write "*" for every interface`}
	}
	if problem := interfaceLetters(text); problem != "" {
		return "", &fault{problem, example}
	}
	if _, err := path.Match(text, ""); err != nil {
		return "", &fault{`must be a pattern of letters, *, ? and [a-z]; one of its brackets or backslashes is left open`, example}
	}
	if literal(text) {
		if problem := interfaceName(text); problem != "" {
			return "", &fault{problem, example}
		}
	}
	return text, nil
}

// literal reports whether a pattern matches only itself.
func literal(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }
