package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"braid/crypto"
)

// socketPathLimit is what fits into the kernel's sockaddr_un with its zero.
const socketPathLimit = 107

// parseSocket reads the path of the control socket.
func parseSocket(text string) (string, *fault) {
	const mend = `such as "/run/braid/braid.sock"`
	switch {
	case !filepath.IsAbs(text):
		return "", &fault{"must be an absolute path", mend}
	case len(text) > socketPathLimit:
		return "", &fault{fmt.Sprintf("must have at most %d bytes, not %d: the path of a socket cannot be longer", socketPathLimit, len(text)), mend}
	case strings.ContainsRune(text, 0):
		return "", &fault{"must not contain a zero byte", mend}
	case folder(text):
		return "", &fault{"must be a file, not a folder", mend}
	}
	return filepath.Clean(text), nil
}

// parseFolder reads the path of a folder, which need not be there yet.
func parseFolder(text string) (string, *fault) {
	const mend = `such as "/var/lib/braid"`
	switch {
	case !filepath.IsAbs(text):
		return "", &fault{"must be an absolute path", mend}
	case strings.ContainsRune(text, 0):
		return "", &fault{"must not contain a zero byte", mend}
	case filepath.Clean(text) == "/":
		return "", &fault{"must be a folder of its own, not the root", mend}
	}
	return filepath.Clean(text), nil
}

// keyFile reads the path of the private key, and makes it absolute from the
// folder dir, unless that is "".
func keyFile(n *node, dir string, errs *Errors) string {
	if n == nil {
		return ""
	}
	const mend = "name a file that was made with: braid keygen FILE"
	name := n.str
	if _, err := crypto.ParsePrivateKey(name); err == nil {
		// Whoever reads the message must not learn the key from it.
		errs.addHidden(n, "must be the name of a file, not the key itself", "write the key to a file with mode 0600 and name that")
		return ""
	}
	path, wrong := parseFile(name, dir)
	if wrong != nil {
		if wrong.mend == "" {
			wrong.mend = mend
		}
		errs.add(n, wrong.problem, wrong.mend)
	}
	return path
}

// parseFile reads the path of a file, and makes it absolute from the folder dir,
// unless that is "".
func parseFile(name, dir string) (string, *fault) {
	switch {
	case name == "":
		return "", &fault{"must not be empty", ""}
	case strings.ContainsRune(name, 0):
		return "", &fault{"must not contain a zero byte", ""}
	case folder(name):
		return "", &fault{"must be a file, not a folder", ""}
	case strings.HasPrefix(name, "~/"):
		return "", &fault{"must not start with ~/: only shells know it", "write the whole path"}
	case filepath.IsAbs(name) || dir == "":
		return filepath.Clean(name), nil
	}
	return filepath.Join(dir, name), nil
}

// folder reports whether a path can only be a folder's.
func folder(path string) bool {
	last := path[strings.LastIndexByte(path, '/')+1:]
	return path != "" && (last == "" || last == "." || last == "..")
}
