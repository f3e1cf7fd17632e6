package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"braid/lab"
)

// browser is Chromium in a host, driven through a pipe: so it needs nothing of the
// network between it and the test.
type browser struct {
	*world
	ctx context.Context

	mu         sync.Mutex // guards what follows
	complaints []string   // of the page and of its policy
}

func startBrowser(w *world, h *lab.Host) *browser {
	w.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(w.TempDir()),
		chromedp.ModifyCmdFunc(func(c *exec.Cmd) {
			c.Args = append([]string{"nsenter", "--net=" + h.NetNSPath(), c.Path}, c.Args[1:]...)
			c.Path, c.Err = "/usr/bin/nsenter", nil
		}))
	ctx, stop := chromedp.NewExecAllocator(w.ctx, options...)
	w.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	w.Cleanup(end)
	b := &browser{world: w, ctx: ctx}
	b.do(command(log.Enable, cdp.Empty{}))
	w.must(chromedp.Listen(ctx, func(e any) {
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
	}))
	return b
}

// command makes an action of a command.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	b.must(chromedp.Do(b.ctx, actions...))
}

func (b *browser) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
}

// until waits until an expression is true in the page.
func (b *browser) until(expression string) {
	b.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience), chromedp.WithPollingInterval(50*time.Millisecond)))
	if err != nil {
		b.Fatalf("not so: %s: %v; complaints: %v; the page:\n%s", expression, err, b.complained(), b.value("document.body.innerText"))
	}
}

// value is that of an expression in the page, or of a promise.
func (b *browser) value(expression string) string { return evaluate[string](b, expression) }

func number(b *browser, expression string) float64 { return evaluate[float64](b, expression) }

func evaluate[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *browser) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

// look sets the size of the window and the colours that are preferred.
func (b *browser) look(width int64, scheme string) {
	b.Helper()
	b.do(command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// picture keeps what the page looks like, for people: in the folder BRAID_ARTIFACTS.
func (b *browser) picture(name string) {
	b.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	b.must(err)
	dir := os.Getenv("BRAID_ARTIFACTS")
	if dir == "" {
		dir = b.TempDir()
	}
	b.must(errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)))
}
