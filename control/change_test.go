package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// roles is a Changer that keeps roles and nothing else.
type roles struct {
	mu  sync.Mutex
	set map[string]string // by uplink
}

func newRoles(uplinks ...string) *roles {
	r := &roles{set: map[string]string{}}
	for _, u := range uplinks {
		r.set[u] = RoleDefault
	}
	return r
}

func (r *roles) SetRole(uplink, role string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.set[uplink]; !ok {
		var known []string
		for u := range r.set {
			known = append(known, u)
		}
		slices.Sort(known)
		return &UnknownUplinkError{uplink, known}
	}
	if uplink == "stuck" {
		return &Error{"change", uplink, errors.New("it is stuck"), "pull"}
	}
	r.set[uplink] = role
	return nil
}

func (r *roles) of(uplink string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set[uplink]
}

func TestSetRole(t *testing.T) {
	// What a kernel takes as a name of an interface, HTTP must bring across.
	names := []string{"lte", "a%2fb", "ü?#&+;=", "...", "eth0.7"}
	r := newRoles(append(names, "stuck")...)
	path := serveChanges(t, sampleClient, Changes{Roles: r})
	for _, name := range names {
		for _, role := range []string{"backup", "overflow", "bond", "never", "default"} {
			if err := SetRole(t.Context(), path, name, role); err != nil {
				t.Errorf("%s to %s: %v", name, role, err)
			} else if got := r.of(name); got != role {
				t.Errorf("%s to %s: is %s", name, role, got)
			}
		}
	}
	known := "there are: " + strings.Join([]string{"...", "a%2fb", "eth0.7", "lte", "stuck", "ü?#&+;="}, ", ")
	choices := "choose one of: bond, overflow, backup, never, default"
	for _, test := range []struct {
		uplink, role string
		want         Refusal
	}{
		{"wwan0", "backup", Refusal{Status: 404, Problem: `unknown uplink "wwan0"`, Mend: known}},
		{"a/b", "backup", Refusal{Status: 404, Problem: `unknown uplink "a/b"`, Mend: known}},
		{strings.Repeat("x", 50), "backup", Refusal{Status: 404, Problem: `unknown uplink "` + strings.Repeat("x", 40) + `…"`, Mend: known}},
		{"", "backup", Refusal{Status: 404, Problem: `unknown uplink ""`, Mend: "name an interface"}},
		{"..", "backup", Refusal{Status: 404, Problem: `unknown uplink ".."`, Mend: "name an interface"}},
		{"lte", "best", Refusal{Status: 400, Problem: `unknown role "best"`, Mend: choices}},
		{"lte", "", Refusal{Status: 400, Problem: "the request has no role", Mend: choices}},
		{"lte", strings.Repeat("x", 5000), Refusal{Status: 413, Problem: "the request has more than 4096 bytes", Mend: `send {"role": "backup"}`}},
		{"stuck", "bond", Refusal{Status: 500, Problem: "change stuck: it is stuck", Mend: "pull"}},
	} {
		err := SetRole(t.Context(), path, test.uplink, test.role)
		got, ok := errors.AsType[*Refusal](err)
		if !ok {
			t.Errorf("%s to %s: %v", test.uplink, test.role, err)
		} else if d := cmp.Diff(test.want, *got); d != "" {
			t.Error(d)
		}
	}
}

func TestSetRoleOfWhatOnlyTells(t *testing.T) {
	path := serve(t, sampleServer)
	got, ok := errors.AsType[*Refusal](SetRole(t.Context(), path, "lte", "backup"))
	if !ok || got.Status != http.StatusForbidden || got.Hint() == "" {
		t.Errorf("%+v", got)
	}
	if _, err := Fetch(t.Context(), path); err != nil {
		t.Errorf("and now it does not tell either: %v", err)
	}
}

func TestSetRoleWithoutDaemon(t *testing.T) {
	err := SetRole(t.Context(), filepath.Join(t.TempDir(), "none"), "lte", "backup")
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint(), "--control") {
		t.Errorf("error %v", err)
	}
}

// Another version's answer is no refusal.
func TestSetRoleOfAnotherVersion(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	err = SetRole(t.Context(), l.Addr().String(), "lte", "backup")
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint(), "another version") {
		t.Errorf("error %v", err)
	}
}

// Every answer but the status is a refusal in JSON, and the right code.
func TestRefusals(t *testing.T) {
	h := handler(func() any { return sampleClient }, Changes{Roles: newRoles("lte")})
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/status", "", 200},
		{"POST", "/v1/status", "", 405},
		{"GET", "/v1/uplinks/lte", "", 405},
		{"DELETE", "/v1/uplinks/lte", "", 405},
		{"GET", "/", "", 404},
		{"POST", "/v1/uplinks/", `{"role":"bond"}`, 404},
		{"POST", "/v1/uplinks/lte/role", `{"role":"bond"}`, 404},
		{"POST", "/v1/uplinks/none", `{"role":"bond"}`, 404},
		{"POST", "/v1/uplinks/lte", ` {"role": "bond"} `, 204},
		{"POST", "/v1/uplinks/lte", ``, 400},
		{"POST", "/v1/uplinks/lte", `bond`, 400},
		{"POST", "/v1/uplinks/lte", `null`, 400},
		{"POST", "/v1/uplinks/lte", `{}`, 400},
		{"POST", "/v1/uplinks/lte", `{"role":7}`, 400},
		{"POST", "/v1/uplinks/lte", `{"role":"BOND"}`, 400},
		{"POST", "/v1/uplinks/lte", `{"role":"bond","cap":1}`, 400},
		{"POST", "/v1/uplinks/lte", `{"role":"bond"}{}`, 400},
		{"POST", "/v1/uplinks/lte", `{"role":"bond"}}`, 400},
		{"POST", "/v1/uplinks/lte", strings.Repeat(" ", maxChangeBytes) + `{"role":"bond"}`, 413},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if w.Code != test.want {
			t.Errorf("%s %s %.40s: %d, want %d", test.method, test.path, test.body, w.Code, test.want)
		}
		checkAnswer(t, w)
	}
}

// checkAnswer checks that what is no success explains itself.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var r Refusal
	switch {
	case w.Code == http.StatusNoContent && w.Body.Len() > 0:
		t.Errorf("a body: %q", w.Body)
	case w.Code < 300:
	case json.Unmarshal(w.Body.Bytes(), &r) != nil || r.Problem == "" || w.Header().Get("Content-Type") != "application/json":
		t.Errorf("%d does not say why: %q", w.Code, w.Body)
	}
}

// A client that is slow to send does not keep Serve from ending.
func TestServeEndsDuringRequest(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() any { return sampleClient }, Changes{Roles: newRoles("lte")}) }()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("POST /v1/uplinks/lte HTTP/1.1\r\nHost: braid\r\nContent-Length: 20\r\n\r\n{\"role\":")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzChange(f *testing.F) {
	for _, s := range []string{`{"role":"backup"}`, `{"role":"default"} `, `{"role":"x"}`, `{"role":null}`, `[]`, `{"role":"bond"}x`, "{\"role\":\"\xff\"}", ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newRoles("lte")
		w := httptest.NewRecorder()
		handler(func() any { return nil }, Changes{Roles: r}).ServeHTTP(w, httptest.NewRequest("POST", "/v1/uplinks/lte", bytes.NewReader(body)))
		checkAnswer(t, w)
		c, refusal := decodeChange(bytes.NewReader(body))
		switch {
		case len(body) > maxChangeBytes:
			if w.Code != http.StatusRequestEntityTooLarge {
				t.Fatalf("%d for %d bytes", w.Code, len(body))
			}
		case refusal != nil:
			if w.Code != refusal.Status || refusal.Status != http.StatusBadRequest || r.of("lte") != RoleDefault {
				t.Fatalf("%d, %+v, and the role is %s", w.Code, refusal, r.of("lte"))
			}
		default:
			if w.Code != http.StatusNoContent || !slices.Contains(Roles(), c.Role) || r.of("lte") != c.Role {
				t.Fatalf("%d for %q", w.Code, body)
			}
		}
	})
}
