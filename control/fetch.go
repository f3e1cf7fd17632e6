package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

// maxStatusBytes bounds what Fetch reads: thousands of clients.
const maxStatusBytes = 64 << 20

// Fetch asks the daemon behind the socket at path for its status and returns
// the JSON as it came. The error is an *Error.
func Fetch(ctx context.Context, path string) (json.RawMessage, error) {
	status, b, err := ask(ctx, path, http.MethodGet, statusPath, nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK || !json.Valid(b) {
		return nil, unexpected(path, status)
	}
	return b, nil
}

// SetRole asks the client behind the socket at path to give an uplink a role,
// one of Roles, until it ends. The error is a *Refusal when the client did not,
// and an *Error when it could not be asked.
func SetRole(ctx context.Context, path, uplink, role string) error {
	switch uplink {
	case "", ".", "..":
		// No interface has such a name, and HTTP takes it for another path.
		return &Refusal{Status: http.StatusNotFound, Problem: (&UnknownUplinkError{Uplink: uplink}).Error(), Mend: "name an interface"}
	}
	body, err := json.Marshal(roleChange{role})
	if err != nil { // a string
		return fmt.Errorf("ask %s: %w", path, err)
	}
	status, b, err := ask(ctx, path, http.MethodPost, uplinksPath+url.PathEscape(uplink), body)
	if err != nil {
		return err
	}
	if status == http.StatusNoContent {
		return nil
	}
	return refused(path, status, b)
}

// ask sends one request to the daemon behind the socket at path.
func ask(ctx context.Context, path, method, target string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := request(ctx, path, method, target, body)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxStatusBytes))
	if err != nil {
		return 0, nil, &Error{"ask the daemon at", path, err, ""}
	}
	return res.StatusCode, answer, nil
}

// request sends one request, whose answer's body is the caller's to close.
func request(ctx context.Context, path, method, target string, body []byte) (*http.Response, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://braid"+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, &Error{"ask the daemon at", path, cause(err), mend(err)}
	}
	return res, nil
}

func unexpected(path string, status int) error {
	err := fmt.Errorf("unexpected answer %d %s", status, http.StatusText(status))
	return &Error{"ask the daemon at", path, err, "is it a braid of another version?"}
}

// cause strips what net/http, net and os say around a system's error.
func cause(err error) error {
	if no, ok := errors.AsType[*net.OpError](err); ok {
		return no.Err
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func mend(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return "no braid is running there: start one, or name its socket with --control"
	case errors.Is(err, fs.ErrPermission):
		return "run this as the user that runs braid, usually root, or as a member of the group that its control_group or control_readers names"
	}
	return ""
}

// Decode returns a *Client or a *Server for the JSON of Fetch.
func Decode(b json.RawMessage) (any, error) {
	var head struct {
		Role string `json:"role"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	var v any
	switch head.Role {
	case RoleClient:
		v = new(Client)
	case RoleServer:
		v = new(Server)
	default:
		return nil, fmt.Errorf("read status: unknown role %q", head.Role)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return v, nil
}
