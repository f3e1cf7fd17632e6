package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Access says who may use the control socket besides the daemon's own user.
type Access struct {
	Group   string // name or number of the group whose members may read and change; "": nobody
	Readers string // of the group whose members may read; "": nobody, and no socket for it
}

// readersEnd is what the path of the socket for readers is longer by
// (control.ReadSocket).
const readersEnd = len(".read")

// access reads control_group and control_readers. Whether there are such groups
// the host knows, not the file.
func access(root *node, errs *Errors) Access {
	socket, readers := root.get("control"), root.get("control_readers")
	a := Access{
		Group:   one(root.get("control_group"), errs, parseGroup),
		Readers: one(readers, errs, parseGroup),
	}
	if a.Readers == "" {
		return a
	}
	if a.Readers == a.Group {
		errs.add(readers, "is the group of control_group too, which may do more", removeOne)
	}
	if n := len(socket.str); n > socketPathLimit-readersEnd && n <= socketPathLimit {
		errs.add(socket, fmt.Sprintf("must have at most %d bytes with control_readers, not %d: the path of their socket is longer",
			socketPathLimit-readersEnd, n), `such as "/run/braid/braid.sock"`)
	}
	return a
}

// groupNameLimit is that of shadow's groupadd(8), in bytes.
const groupNameLimit = 32

// parseGroup reads a group's name, or its number.
func parseGroup(text string) (string, *fault) {
	const example = `such as "netadmin"`
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		// The highest number stands for none in chown(2).
		if id, err := strconv.ParseUint(text, 10, 32); err != nil || id == 1<<32-1 {
			return "", &fault{"must be the name of a group, or its number", example}
		}
		return text, nil
	}
	switch {
	case text == "":
		return "", &fault{"must not be empty", "leave it out, or name a group, " + example}
	case len(text) > groupNameLimit:
		return "", &fault{fmt.Sprintf("must have at most %d bytes, not %d", groupNameLimit, len(text)), example}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(":,/", r) }):
		return "", &fault{"must be the name of one group, or its number", example}
	}
	return text, nil
}
