package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// maxStatusBytes bounds what Fetch reads: thousands of clients.
const maxStatusBytes = 64 << 20

// Fetch asks the daemon behind the socket at path for its status and returns
// the JSON as it came.
func Fetch(ctx context.Context, path string) (json.RawMessage, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://braid"+statusPath, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, &Error{"ask the daemon at", path, cause(err), mend(err)}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxStatusBytes))
	if err != nil {
		return nil, &Error{"ask the daemon at", path, err, ""}
	}
	if res.StatusCode != http.StatusOK || !json.Valid(b) {
		return nil, &Error{"ask the daemon at", path, fmt.Errorf("unexpected answer %s", res.Status), "is it a braid of another version?"}
	}
	return b, nil
}

// cause strips what net/http and net say around a system's error.
func cause(err error) error {
	var no *net.OpError
	if errors.As(err, &no) {
		return no.Err
	}
	return err
}

func mend(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return "no braid is running there: start one, or name its socket with --control"
	case errors.Is(err, fs.ErrPermission):
		return "run this as the user that runs braid, usually root"
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
