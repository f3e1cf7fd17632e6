package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// A daemon has one control socket, on which its status is read and changes are
// made, and may have a second one beside it for those that may only read. Whoever
// asks names the first: where that is closed to him, the second is asked (dial).

// Group is a group of the host, that may open a socket.
type Group struct {
	Name string // as the configuration calls it
	ID   int
}

// groupMode is that of a socket which a group may open. To connect takes the
// right to write (unix(7)).
const groupMode = 0o660

// ReadSocket is where the control socket for readers stands beside the one at
// path: /run/braid/client.read.sock beside /run/braid/client.sock.
func ReadSocket(path string) string {
	const end = ".sock"
	base, ok := strings.CutSuffix(path, end)
	if !ok {
		return path + ".read"
	}
	return base + ".read" + end
}

// ListenGroup is Listen for this user and the members of a group. It takes a
// member of the group, or CAP_CHOWN. The error is an *Error.
func ListenGroup(path string, g Group) (net.Listener, error) {
	l, err := Listen(path)
	if err != nil {
		return nil, err
	}
	// Closed to all others until it is the group's: at no moment may those of
	// this process's own group connect.
	err = os.Lchown(path, -1, g.ID)
	if err == nil {
		err = os.Chmod(path, groupMode)
	}
	if err != nil {
		l.Close()
		mend := ""
		if errors.Is(err, fs.ErrPermission) {
			mend = fmt.Sprintf("the daemon's user must be a member of the group; for a systemd service write [Service] and SupplementaryGroups=%s with: systemctl edit UNIT", g.Name)
		}
		return nil, &Error{"give to the group " + g.Name + " the control socket", path, cause(err), mend}
	}
	return l, nil
}

// ServeReaders is Serve on a socket for those who may only read. The refusal of
// all that would change something tells them where that can be done: on the socket
// at path, by root or by members of the group changers, "" where there is none.
func ServeReaders(ctx context.Context, l net.Listener, status func() any, path, changers string) error {
	mend := "run it as root"
	if changers != "" {
		mend += ", or as a member of the group " + changers
	}
	mend += ": changes are made on " + path
	return answerOn(ctx, netutil.LimitListener(l, readersAtOnce), readOnly(handler(status, Changes{}), mend))
}

// readersAtOnce bounds what readers cost. Others wait until one has gone; those on
// the other socket do not.
const readersAtOnce = 64

// readOnly refuses all but reading.
func readOnly(h http.Handler, mend string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet {
			(&Refusal{Status: http.StatusForbidden, Reader: true, Problem: "this user may read how braid is, and change nothing", Mend: mend}).write(w)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// dial connects to the socket at path, or to the one for readers where this user
// may open only that.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if !errors.Is(err, unix.EACCES) {
		return c, err
	}
	if c, other := d.DialContext(ctx, "unix", ReadSocket(path)); other == nil {
		return c, nil
	}
	return nil, err
}
