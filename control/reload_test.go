package control

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// book is a Reloader and an Enroller that notes what it is asked.
type book struct {
	asked []any
	err   error
}

var reloaded = Reloaded{Applied: []string{"client"}, Restart: []string{"listen"}, Problems: []string{"it rains"}}

func (b *book) note(v any) error {
	b.asked = append(b.asked, v)
	return b.err
}

func (b *book) Reload() (Reloaded, error) { return reloaded, b.note("reload") }

func (b *book) AddClient(c ClientToAdd) (Enrolled, error) {
	return Enrolled{[]netip.Addr{netip.MustParseAddr("10.77.0.9")}, reloaded}, b.note(c)
}

func (b *book) RemoveClient(c ClientToRemove) (Removed, error) { return removed, b.note(c) }

var removed = Removed{reloaded, []string{"laptop"}}

func TestReloadAndClients(t *testing.T) {
	b := &book{}
	path := serveChanges(t, sampleServer, Changes{Config: b, Clients: b})
	names := []string{"home", "a/b", "Annä & Co?", "...", "100%"}
	var want []any
	for _, name := range names {
		add := ClientToAdd{File: "/etc/braid/server.toml", Name: name, PublicKey: "k", Routes: []string{"10.0.0.0/8"}}
		got, err := AddClient(t.Context(), path, add)
		if err != nil || len(got.Addresses) != 1 || got.Addresses[0].String() != "10.77.0.9" || !cmp.Equal(got.Reloaded, reloaded) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		remove := ClientToRemove{File: "/etc/bräid & more/server.toml", Name: name}
		gone, err := RemoveClient(t.Context(), path, remove)
		if err != nil || !cmp.Equal(gone, removed) {
			t.Errorf("%s: %+v, %v", name, gone, err)
		}
		want = append(want, add, remove)
	}
	if got, err := Reload(t.Context(), path); err != nil || !cmp.Equal(got, reloaded) {
		t.Errorf("%+v, %v", got, err)
	}
	if d := cmp.Diff(append(want, "reload"), b.asked); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, name := range []string{"", ".", ".."} {
		if _, err := RemoveClient(t.Context(), path, ClientToRemove{Name: name}); err == nil {
			t.Errorf("%q is removed", name)
		}
	}

	// All faults of a configuration come across.
	b.err = &Refusal{Status: 422, Problem: "one", Mend: "mend", More: []*Refusal{{Problem: "two"}}}
	_, err := Reload(t.Context(), path)
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || refusal.Status != 422 || refusal.Problem != "one" || refusal.Hint() != "mend" || len(refusal.More) != 1 || refusal.More[0].Problem != "two" {
		t.Errorf("%+v", err)
	}
	b.err = errors.New("no")
	if _, err := AddClient(t.Context(), path, ClientToAdd{}); err == nil || err.Error() != "no" {
		t.Errorf("%v", err)
	}
}

func TestReloadedText(t *testing.T) {
	for want, r := range map[string]Reloaded{
		"nothing has changed":                                {},
		"changed: client, rule":                              {Applied: []string{"client", "rule"}},
		"needs a restart: listen":                            {Restart: []string{"listen"}},
		"changed: client; needs a restart: listen; it rains": reloaded,
	} {
		if got := r.Text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A daemon that does not take a change says so, and a request that is not
// understood changes nothing.
func TestChangesRefused(t *testing.T) {
	b := &book{}
	for _, test := range []struct {
		changes            Changes
		method, path, body string
		status             int
	}{
		{Changes{}, "POST", "/v1/reload", "", 403},
		{Changes{}, "POST", "/v1/clients", "{}", 403},
		{Changes{}, "DELETE", "/v1/clients/home", "", 403},
		{Changes{Config: b}, "GET", "/v1/reload", "", 405},
		{Changes{Clients: b}, "GET", "/v1/clients", "", 405},
		{Changes{Clients: b}, "POST", "/v1/clients/home", "{}", 405},
		{Changes{Clients: b}, "POST", "/v1/clients", "", 400},
		{Changes{Clients: b}, "POST", "/v1/clients", "[]", 400},
		{Changes{Clients: b}, "POST", "/v1/clients", `{"nam": "x"}`, 400},
		{Changes{Clients: b}, "POST", "/v1/clients", `{"name": "x"} {}`, 400},
		{Changes{Clients: b}, "POST", "/v1/clients", strings.Repeat(" ", maxClientBytes+1), 413},
	} {
		w := httptest.NewRecorder()
		handler(func() any { return sampleServer }, test.changes).ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if w.Code != test.status || !strings.Contains(w.Body.String(), `"error":`) {
			t.Errorf("%s %s %.20s: %d %s", test.method, test.path, test.body, w.Code, w.Body)
		}
	}
	if len(b.asked) > 0 {
		t.Errorf("asked: %v", b.asked)
	}
	w := httptest.NewRecorder()
	handler(nil, Changes{Config: b}).ServeHTTP(w, httptest.NewRequest("POST", "/v1/reload", nil))
	if w.Code != http.StatusOK {
		t.Errorf("%d", w.Code)
	}
}
