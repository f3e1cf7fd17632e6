package dashboard

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patienceOfTest bounds each wait of a test: ample on a busy machine.
const patienceOfTest = time.Minute

// browser is a real one, and what it complained of: of the Content-Security-Policy
// as well.
type browser struct {
	*testing.T
	ctx context.Context

	mu         sync.Mutex // guards what follows
	complaints []string
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	b := &browser{T: t, ctx: ctx}
	b.do(browserCall(log.Enable, cdp.Empty{}))
	err := chromedp.Listen(ctx, func(e any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := e.(type) {
		case *log.EventEntryAdded:
			b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.complaints = append(b.complaints, "console."+e.Type.String())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// browserCall makes an action of a command.
func browserCall[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// until waits until an expression is true in the page.
func (b *browser) until(expression string) {
	b.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patienceOfTest), chromedp.WithPollingInterval(50*time.Millisecond)))
	if err != nil {
		b.Fatalf("not so: %s: %v; complaints: %v; the page:\n%s", expression, err, b.complained(), b.value("document.body.innerText"))
	}
}

func (b *browser) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

// value is that of an expression in the page.
func (b *browser) value(expression string) string { return value[string](b, expression) }

func value[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// look sets the size of the window and the colours that are preferred.
func (b *browser) look(width int64, scheme string) {
	b.Helper()
	b.do(browserCall(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600}),
		browserCall(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}))
}

// picture keeps what the page looks like, for people.
func (b *browser) picture(name string) {
	b.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.Fatal(err)
	}
	dir := os.Getenv("BRAID_ARTIFACTS")
	if dir == "" {
		dir = b.TempDir()
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)); err != nil {
		b.Fatal(err)
	}
}

// serveStatus serves a dashboard at the URL until stop is called, or the test ends.
func serveStatus(t *testing.T, status any, token string) (url string, stop func()) {
	t.Helper()
	status.(interface{ Judge() }).Judge()
	d := New(Config{Status: func() any { return status }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	pastHour(&d.sampler.history, time.Now(), status)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, l, token) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "http://" + netip.MustParseAddrPort(l.Addr().String()).String() + "/", stop
}

// Each situation is recognised by its first words, on every screen, and the page
// keeps to its own policy.
func TestSituations(t *testing.T) {
	b := startBrowser(t)
	for _, s := range []struct {
		name   string
		status any
		level  string
		title  string
		gain   string // empty: none is shown
		looks  string // of the uplinks
	}{
		{"good", good(), "good", "All well", "×1.6", "up up"},
		{"dead", oneDead(), "warn", "lte is dead", "–", "up dead"},
		{"quarantined", oneQuarantined(), "held", "lte is quarantined", "×1.0", "up quarantined standby"},
		{"down", sessionDown(), "bad", "Not connected", "–", "probing probing"},
		{"server", server(), "warn", "2 of 3 clients connected", "", "up up up dead"},
	} {
		url, _ := serveStatus(t, s.status, "")
		for _, screen := range []struct {
			name   string
			width  int64
			scheme string
		}{{"light", 1200, "light"}, {"dark", 1200, "dark"}, {"phone", 360, "light"}} {
			b.look(screen.width, screen.scheme)
			b.do(chromedp.Navigate(url))
			b.until(`document.querySelector("[data-f=pulse]").textContent === "live"`)
			if got := b.value(`document.querySelector("[data-f=verdict-title]").textContent`); got != s.title {
				t.Errorf("%s: the title is %q, want %q", s.name, got, s.title)
			}
			if got := b.value(`document.querySelector("[data-f=verdict]").dataset.level`); got != s.level {
				t.Errorf("%s: the level is %q, want %q", s.name, got, s.level)
			}
			if got := b.value(`document.querySelector("[data-f=gain]").textContent`); got != s.gain {
				t.Errorf("%s: the gain is %q, want %q", s.name, got, s.gain)
			}
			if got := b.value(`[...document.querySelectorAll("[data-uplink]")].map(e => e.dataset.look).join(" ")`); got != s.looks {
				t.Errorf("%s: uplinks look %q, want %q", s.name, got, s.looks)
			}
			if wide := value[int64](b, `document.documentElement.scrollWidth`); wide > screen.width {
				t.Errorf("%s on %s: %d px wide, with %d there", s.name, screen.name, wide, screen.width)
			}
			b.picture("situation-" + s.name + "-" + screen.name)
		}
	}
	if got := b.complained(); len(got) > 0 {
		t.Errorf("the browser complained:\n%s", strings.Join(got, "\n"))
	}
}

// The token is asked for, taken from the address or from the form, and kept. A
// daemon that is gone is no longer said to be well.
func TestTokenInBrowser(t *testing.T) {
	b := startBrowser(t)
	b.look(360, "light")
	url, stop := serveStatus(t, good(), secret)
	live := `document.querySelector("[data-f=pulse]").textContent === "live"`
	b.do(chromedp.Navigate(url))
	b.until(`!document.getElementById("login").hidden && document.activeElement.id === "token"`)
	b.picture("token-phone")
	enter := func(token string) {
		b.value(`document.getElementById("token").value = "` + token + `"; document.querySelector("#login button").click(); ""`)
	}
	enter("wrong")
	b.until(`document.querySelector(".wrong").textContent === "This is not the token.\n"`)
	if got := b.value(`fetch("api/status").then(r => String(r.status))`); got != "401" {
		t.Errorf("without the token the status is answered with %s", got)
	}
	enter(secret)
	b.until(live)
	b.do(chromedp.Navigate(url))
	b.until(live)
	if got := b.value(`document.cookie`); got != "" {
		t.Errorf("scripts can read the cookie: %s", got)
	}
	complaints := b.complained()
	for _, c := range complaints {
		if !strings.Contains(c, "Failed to load resource") { // what was refused above
			t.Errorf("the browser complained: %s", c)
		}
	}

	// In another browser, by the address that is printed.
	b = startBrowser(t)
	b.do(chromedp.Navigate(url + "#token=" + secret))
	b.until(live)
	if got := b.value(`location.href`); got != url {
		t.Errorf("the address is %s, want %s", got, url)
	}
	if got := b.complained(); len(got) > 0 {
		t.Errorf("the browser complained:\n%s", strings.Join(got, "\n"))
	}
	stop()
	b.until(`document.body.classList.contains("stale") && document.querySelector("[data-f=verdict-title]").textContent === "braid does not answer"`)
	b.picture("gone")
}
