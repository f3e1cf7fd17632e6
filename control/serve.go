package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// statusPath is versioned, so that a later API can stand beside it.
const statusPath = "/v1/status"

// Error is a socket that could not be used, with a way to mend it.
type Error struct {
	Op, Path string
	Err      error
	Mend     string
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the system's error.
func (e *Error) Unwrap() error { return e.Err }

// Hint says how to mend it, in a sentence; it may be empty.
func (e *Error) Hint() string { return e.Mend }

// errInUse says that another process answers on the socket.
var errInUse = errors.New("another braid is using it")

// Listen opens the control socket at path, for this user alone. A socket that
// a dead process left is replaced; one that is alive is an error. Closing the
// listener removes the socket.
func Listen(path string) (net.Listener, error) {
	fail := func(err error, mend string) (net.Listener, error) {
		return nil, &Error{"open control socket", path, err, mend}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err, "set control to a path that this user can create")
	}
	if err := removeStale(path); err != nil {
		return fail(err, "stop the other one, or give this one its own control path")
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The mode of a socket before bind becomes that of its file: there
		// is no moment at which others could connect.
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return fail(err, "set control to a path that this user can create")
	}
	return l, nil
}

// removeStale removes a socket on which nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errInUse
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Serve answers on l until ctx ends, which gives nil. status is called for
// each request, from any goroutine; what it returns is sent as JSON. Serve closes l
// and returns after all its goroutines have ended.
func Serve(ctx context.Context, l net.Listener, status func() any, change Changes) error {
	return answerOn(ctx, l, handler(status, change))
}

func answerOn(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends streams
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); shut(srv) })
	err := srv.Serve(l)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve control socket: %w", err)
}

// shut ends srv when its handlers have ended, which takes them a moment.
func shut(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		srv.Close()
	}
}

// handler is what the daemon answers, to reading and to changing requests.
func handler(status func() any, change Changes) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(statusPath, only(http.MethodGet, tellStatus(status)))
	mux.HandleFunc(streamPath, only(http.MethodGet, streamStatus(status)))
	mux.HandleFunc(uplinksPath+"{name}", only(http.MethodPost, changeRole(change.Roles)))
	mux.HandleFunc(reloadPath, only(http.MethodPost, reload(change.Config)))
	mux.HandleFunc(speedtestPath, only(http.MethodPost, speedtest(change.Speed)))
	mux.HandleFunc(clientsPath, only(http.MethodPost, addClient(change.Clients)))
	mux.HandleFunc(clientsPath+"/{name}", only(http.MethodDelete, removeClient(change.Clients)))
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		(&Refusal{Status: http.StatusNotFound, Problem: "there is nothing at " + shown(req.URL.Path), Mend: "is this a braid of another version?"}).write(w)
	})
	return mux
}

// only answers other methods with a refusal.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.Method != method {
			w.Header().Set("Allow", method)
			(&Refusal{Status: http.StatusMethodNotAllowed, Problem: "the method " + shown(req.Method) + " is not allowed here", Mend: "use " + method}).write(w)
			return
		}
		h(w, req)
	}
}

// tellStatus serves GET /v1/status.
func tellStatus(status func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(status())
		if err != nil {
			(&Refusal{Status: http.StatusInternalServerError, Problem: "write status: " + err.Error(), Mend: ""}).write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(b, '\n'))
	}
}
