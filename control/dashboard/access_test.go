package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/control"
)

const secret = "QWERTYUIOPASDFGHJKLZXCVBNM"

// ask sends a request to a dashboard with a token, or without one.
func ask(t *testing.T, h http.Handler, method, path, body string, header map[string]string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(method, "http://127.0.0.1:8477"+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result()
}

// Who may have what: other sites' pages nothing at all, nor a site whose name leads
// here.
func TestWhoIsAnswered(t *testing.T) {
	d := New(Config{})
	d.sampler.take(noon, good())
	open, closed := d.handler(""), d.handler(secret)
	in := map[string]string{"Cookie": newLogin(secret).name + "=" + newLogin(secret).value}
	with := func(more ...string) map[string]string {
		h := map[string]string{}
		for k, v := range in {
			h[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	for _, c := range []struct {
		what         string
		h            http.Handler
		method, path string
		header       map[string]string
		want         int
	}{
		{"anybody here", open, "GET", "/api/status", nil, 200},
		{"by localhost", open, "GET", "/api/status", map[string]string{"Host": "localhost:9000"}, 200},
		{"by IPv6", open, "GET", "/", map[string]string{"Host": "[::1]:8477"}, 200},
		{"rebound", open, "GET", "/api/status", map[string]string{"Host": "evil.example:8477"}, 421},
		{"rebound page", open, "GET", "/", map[string]string{"Host": "127.0.0.1.evil.example"}, 421},
		{"no host", open, "GET", "/", map[string]string{"Host": ""}, 421},
		{"another site's script", open, "GET", "/api/status", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403},
		{"another port's page", open, "GET", "/api/history", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403},
		{"another site's frame", open, "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"another site's link", open, "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"another site's link to data", open, "GET", "/api/status", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"changes", open, "POST", "/api/status", nil, 405},
		{"nothing there", open, "GET", "/api/uplinks/dsl", nil, 404},
		{"no token", closed, "GET", "/api/status", nil, 401},
		{"no token, history", closed, "GET", "/api/history", nil, 401},
		{"no token, events", closed, "GET", "/api/events", nil, 401},
		{"the token as a cookie", closed, "GET", "/api/status", map[string]string{"Cookie": newLogin(secret).name + "=" + secret}, 401},
		{"the page with its form", closed, "GET", "/", nil, 200},
		{"logged in", closed, "GET", "/api/status", with(), 200},
		{"logged in, by name", closed, "GET", "/api/status", with("Host", "router.lan:8477"), 200},
		{"logged in, another site", closed, "GET", "/api/status", with("Sec-Fetch-Site", "cross-site"), 403},
		{"login from another site", closed, "POST", "/login", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"login from another origin", closed, "POST", "/login", map[string]string{"Origin": "http://evil.example"}, 403},
	} {
		res := ask(t, c.h, c.method, c.path, "", c.header)
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.what, res.StatusCode, c.want)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Access-Control-Allow-Origin": "", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.what, name, got, want)
			}
		}
	}
}

func TestLogin(t *testing.T) {
	h := New(Config{}).handler(secret)
	res := ask(t, h, "POST", "/login", "token="+secret, nil)
	cookies := res.Cookies()
	if res.StatusCode != http.StatusNoContent || len(cookies) != 1 {
		t.Fatalf("the token is answered with %d, %v", res.StatusCode, cookies)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(c.Value, secret) {
		t.Errorf("the cookie is %v", c)
	}
	if res := ask(t, h, "GET", "/api/history", "", map[string]string{"Cookie": c.Name + "=" + c.Value}); res.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %d", res.StatusCode)
	}
	if other := New(Config{}).handler(secret + "2"); ask(t, other, "GET", "/api/history", "", map[string]string{"Cookie": c.Name + "=" + c.Value}).StatusCode != http.StatusUnauthorized {
		t.Error("the cookie of another token is taken")
	}
	refused := 0
	for range loginBurst * 2 {
		if ask(t, h, "POST", "/login", "token=wrong", nil).StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("wrong tokens may be tried without end")
	}
	if res := ask(t, h, "GET", "/api/history", "", map[string]string{"Cookie": c.Name + "=" + c.Value}); res.StatusCode != http.StatusOK {
		t.Errorf("who is logged in is answered with %d after others' wrong tokens", res.StatusCode)
	}
	if res := ask(t, h, "POST", "/login", "token="+strings.Repeat("x", 1<<20), nil); res.StatusCode < 400 {
		t.Errorf("a megabyte of token is answered with %d", res.StatusCode)
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dashboard.token")
	token, err := OpenToken(path)
	if err != nil || len(token) < 26 {
		t.Fatalf("%q, %v", token, err)
	}
	if again, err := OpenToken(path); err != nil || again != token {
		t.Errorf("the second time: %q, %v", again, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside it are %v, %v", left, err)
	}
	for _, c := range []struct {
		what, text string
		mode       fs.FileMode
		good       bool
	}{
		{"own", "my own long passphrase", 0o600, false},
		{"own", "my-own-long-passphrase\n", 0o640, true},
		{"short", "123456", 0o600, false},
		{"empty", "", 0o600, false},
		{"long", strings.Repeat("x", tokenLimitBytes+1), 0o600, false},
		{"longest", strings.Repeat("x", tokenLimitBytes), 0o600, true},
		{"public", "my-own-long-passphrase", 0o644, false},
		{"two lines", "my-own-long-passphrase\nmy-own-long-passphrase", 0o600, false},
	} {
		if err := errors.Join(os.WriteFile(path, []byte(c.text), 0o600), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		_, err := OpenToken(path)
		if e, ok := errors.AsType[*TokenError](err); c.good != (err == nil) || err != nil && (!ok || e.Hint() == "") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if _, err := OpenToken(filepath.Join(dir, "none", "token")); err == nil {
		t.Error("a token is made in a folder that is not there")
	}
}

// Of a server with many clients the page gets some, and is told how many there are.
func TestBriefServer(t *testing.T) {
	s := server()
	s.Clients[1].Streams.List = make([]control.Stream, 100)
	for range 500 {
		s.Clients = append(s.Clients, control.Peer{State: control.SessionDown})
	}
	d := New(Config{})
	d.sampler.take(noon, s)
	var got struct {
		Clients []control.Peer `json:"clients"`
		Total   int            `json:"clients_total"`
		Up      int            `json:"clients_up"`
	}
	body, err := io.ReadAll(ask(t, d.handler(""), "GET", "/api/status", "", nil).Body)
	if err := errors.Join(err, json.Unmarshal(body, &got)); err != nil {
		t.Fatal(err)
	}
	if len(got.Clients) != briefClients || got.Total != 503 || got.Up != 2 || got.Clients[0].Name != "home" || len(got.Clients[0].Streams.List) != briefStreams {
		t.Errorf("%d clients of %d, %d up, first %s with %d streams", len(got.Clients), got.Total, got.Up, got.Clients[0].Name, len(got.Clients[0].Streams.List))
	}
	if len(s.Clients) != 503 || s.Clients[0].Name != "cabin" || len(s.Clients[1].Streams.List) != 100 {
		t.Error("the daemon's own status was changed")
	}
}

// 0.0.0.0 is IPv4 alone, as it is written.
func TestListenOnIPv4Alone(t *testing.T) {
	for listen, want := range map[string]string{"0.0.0.0:0": "0.0.0.0", "[::]:0": "[::]", "127.0.0.1:0": "127.0.0.1"} {
		d := New(Config{Listen: netip.MustParseAddrPort(listen), TokenFile: filepath.Join(t.TempDir(), "token")})
		_, l, err := d.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if got := l.Addr().String(); !strings.HasPrefix(got, want+":") {
			t.Errorf("%s listens on %s", listen, got)
		}
	}
	if _, _, err := New(Config{Listen: netip.MustParseAddrPort("0.0.0.0:0")}).open(t.Context()); err == nil {
		t.Error("it listens everywhere without a token")
	}
}

// A dashboard that cannot be served says so once, and is served when it can be.
func TestServedLater(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	d := New(Config{
		Listen: netip.MustParseAddrPort(taken.Addr().String()), TokenFile: filepath.Join(t.TempDir(), "none", "token"),
		Status: func() any { return good() }, Log: slog.New(slog.NewTextHandler(&said, nil)),
	})
	d.retry = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	time.Sleep(50 * time.Millisecond) // some tries
	if err := errors.Join(os.Mkdir(filepath.Dir(d.cfg.TokenFile), 0o700), taken.Close()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patienceOfTest); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get("http://" + d.cfg.Listen.String() + "/")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "cannot be made"); n != 1 || strings.Count(said.String(), "dashboard served") != 1 {
		t.Errorf("it said:\n%s", said.String())
	}
}
