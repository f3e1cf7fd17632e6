package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// clientsPath begins the path of each client, which its name ends.
const clientsPath = "/v1/clients"

// Enroller adds and removes clients of a running server, in its configuration
// file too, and reads that again. Its methods are called from any goroutine.
// Errors that are no *Refusal may have a method Hint() string.
type Enroller interface {
	AddClient(ClientToAdd) (Enrolled, error)
	RemoveClient(ClientToRemove) (Removed, error)
}

// ClientToAdd is the body of a request that adds a client.
type ClientToAdd struct {
	// File is where the caller takes the server's configuration to be, absolute. A
	// server with another one refuses.
	File      string   `json:"file"`
	Name      string   `json:"name"`
	PublicKey string   `json:"public_key"`
	Routes    []string `json:"routes"` // networks behind it
}

// Enrolled is the answer to ClientToAdd.
type Enrolled struct {
	Addresses []netip.Addr `json:"addresses"` // the new client's, in the tunnel
	Reloaded  Reloaded     `json:"reloaded"`
}

// ClientToRemove says which client is to be removed.
type ClientToRemove struct {
	File string // as in ClientToAdd
	Name string
}

// Removed is the answer to ClientToRemove. Its JSON is that of Reloaded with one
// member more.
type Removed struct {
	Reloaded
	// WasReachedBy are the clients whose client[].reach named it, until now.
	WasReachedBy []string `json:"was_reached_by,omitempty"`
}

// maxClientBytes bounds the body of a request: some hundred networks.
const maxClientBytes = 64 << 10

// addClient serves POST /v1/clients. Its body is ClientToAdd; the answer is
// Enrolled, or a Refusal.
func addClient(e Enroller) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if e == nil {
			noClients().write(w)
			return
		}
		var c ClientToAdd
		const example = `send {"name": "home", "public_key": "…"}`
		if refusal := decodeBody(http.MaxBytesReader(w, req.Body, maxClientBytes), &c, example); refusal != nil {
			refusal.write(w)
			return
		}
		done, err := e.AddClient(c)
		answer(w, done, err)
	}
}

// removeClient serves DELETE /v1/clients/NAME?file=FILE. The answer is Removed,
// or a Refusal.
func removeClient(e Enroller) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if e == nil {
			noClients().write(w)
			return
		}
		done, err := e.RemoveClient(ClientToRemove{File: req.URL.Query().Get("file"), Name: req.PathValue("name")})
		answer(w, done, err)
	}
}

func noClients() *Refusal { return notHere("this braid is no server, and has no clients") }

// decodeBody reads the JSON of a request. One that is not exactly understood is
// refused: half of a change is worse than none.
func decodeBody(body io.Reader, into any, example string) *Refusal {
	bad := func(problem string) *Refusal {
		return &Refusal{Status: http.StatusBadRequest, Problem: problem, Mend: example}
	}
	b, err := io.ReadAll(body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Refusal{Status: http.StatusRequestEntityTooLarge, Problem: fmt.Sprintf("the request has more than %d bytes", large.Limit), Mend: example}
	}
	if err != nil {
		return &Refusal{Status: http.StatusBadRequest, Problem: "the request broke off: " + err.Error()}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bad("the request is not understood: " + strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("the request is not understood: there is more behind its JSON")
	}
	return nil
}

// AddClient asks the server behind the socket at path to add a client, for good.
// The error is a *Refusal when it did not, and an *Error when it could not be
// asked.
func AddClient(ctx context.Context, path string, c ClientToAdd) (Enrolled, error) {
	body, err := json.Marshal(c)
	if err != nil { // strings
		return Enrolled{}, fmt.Errorf("ask %s: %w", path, err)
	}
	return order[Enrolled](ctx, path, http.MethodPost, clientsPath, body)
}

// RemoveClient asks the server behind the socket at path to remove a client, for
// good. Errors are as with AddClient.
func RemoveClient(ctx context.Context, path string, c ClientToRemove) (Removed, error) {
	switch c.Name {
	case "", ".", "..":
		// HTTP takes it for another path.
		return Removed{}, &Refusal{Status: http.StatusNotFound, Problem: "there is no client " + shown(c.Name), Mend: "name a client"}
	}
	target := clientsPath + "/" + url.PathEscape(c.Name) + "?" + url.Values{"file": {c.File}}.Encode()
	return order[Removed](ctx, path, http.MethodDelete, target, nil)
}
