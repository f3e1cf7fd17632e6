package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
)

// The dashboard of a client, in a real browser beside it: who has the token sees the
// download as the daemon tells it, and an uplink die when it does. The server's,
// on loopback, needs no token, and has no other name.
func TestDashboard(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{
		ClientMore: "[dashboard]\nlisten = \"0.0.0.0:8477\"\ntoken_file = \"dashboard.token\"\n",
		Tunnel:     "[dashboard]\nlisten = \"127.0.0.1:8477\"\n",
	})
	w.dashboardDoors()

	url, _, _ := strings.Cut(w.run(w.Net.Client, binary, "dashboard", "-c", w.Client.ConfigFile()), "\n")
	b := startBrowser(w, w.Net.Client)
	b.look(1200, "light")
	b.open(url)
	b.until(`document.querySelector("[data-f=pulse]").textContent === "live"`)
	b.until(`document.querySelector("[data-f=verdict-title]").textContent === "All well"`)
	if at := b.value(`location.hash`); at != "" {
		t.Errorf("the token stays in the address: %s", at)
	}

	// How much of the graph is coloured, of a copy: reading slows a canvas down.
	const painted = `(() => {
		const from = document.getElementById("hour"), copy = new OffscreenCanvas(from.width, from.height), c = copy.getContext("2d", { willReadFrequently: true });
		c.drawImage(from, 0, 0);
		const d = c.getImageData(0, 0, copy.width, copy.height).data;
		let n = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i + 3] && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 60) n++;
		return n;
	})()`
	calm := number(b, painted)
	l := w.startLoad(1_000_000_000)
	b.until(`["dsl", "lte"].every(u => document.querySelector("[data-uplink=" + u + "] [data-f=rx]").textContent.includes("Mb/s"))`)
	b.until(`document.querySelectorAll("[data-f=streams] .shares span").length >= 2`)
	b.until(fmt.Sprintf(`%s > %v + 2000`, painted, calm)) // the graph shows it
	w.samePage(b)
	b.until(`+document.querySelector("[data-f=gain]").textContent.slice(1) >= 1.2`)
	for range w.pictured(10) { // for a graph that is worth a picture
		l.progress(9_000_000)
	}
	b.picture("dashboard-good")
	b.look(360, "dark")
	if wide := number(b, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("on a phone it is %v px wide", wide)
	}
	b.picture("dashboard-phone")
	b.look(1200, "light")

	w.must(w.Net.Links["lte"].SetCarrier(false))
	w.must(w.Client.WaitFor(w.patient(), "with a dead uplink", func(s daemon.Status) bool {
		for _, u := range s.Uplinks {
			if u.Interface == "lte" && u.State == "dead" {
				return true
			}
		}
		return false
	}))
	said := time.Now()
	b.until(`document.querySelector("[data-uplink=lte]").dataset.state === "dead"`)
	t.Logf("dead on the page %v after the daemon said so", time.Since(said).Round(time.Millisecond))
	if title := b.value(`document.querySelector("[data-f=verdict-title]").textContent`); title != "lte is dead" {
		t.Errorf("the page says %q", title)
	}
	for range w.pictured(5) {
		l.progress(9_000_000)
	}
	b.picture("dashboard-dead")
	w.must(w.Net.Links["lte"].SetCarrier(true))
	if got := b.complained(); len(got) > 0 {
		t.Errorf("the browser complained:\n%s", strings.Join(got, "\n"))
	}
}

// pictured is n where pictures are kept, and else 0: nobody looks then.
func (w *world) pictured(n int) int {
	if os.Getenv("BRAID_ARTIFACTS") == "" {
		return 0
	}
	return n
}

// dashboardDoors tries what must not be let in.
func (w *world) dashboardDoors() {
	w.Helper()
	ask := func(h *lab.Host, host string, header ...string) int {
		w.Helper()
		c := http.Client{Transport: &http.Transport{DialContext: h.DialContext, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(w.patient(), http.MethodGet, "http://127.0.0.1:8477/api/status", nil)
		w.must(err)
		if host != "" {
			req.Host = host
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := c.Do(req)
		w.must(err)
		res.Body.Close()
		return res.StatusCode
	}
	for _, c := range []struct {
		what string
		got  int
		want int
	}{
		{"the client's without the token", ask(w.Net.Client, ""), http.StatusUnauthorized},
		{"the server's", ask(w.Net.Server, ""), http.StatusOK},
		{"the server's by a name", ask(w.Net.Server, "evil.example"), http.StatusMisdirectedRequest},
		{"the server's from another site", ask(w.Net.Server, "", "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
	} {
		if c.got != c.want {
			w.Errorf("%s is answered with %d, want %d", c.what, c.got, c.want)
		}
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(w.Client.ConfigFile()), "dashboard.token"))
	w.must(err)
	if info.Mode().Perm() != 0o600 {
		w.Errorf("the token's file has the mode %v", info.Mode())
	}
}

// samePage checks that what is written on the page is what the daemon tells it, and
// tells programs.
func (w *world) samePage(b *browser) {
	w.Helper()
	before, err := w.Client.Status(w.ctx)
	w.must(err)
	// An event reaches this listener and the page's own at about the same time: one of
	// some must be on the page a moment later. The first one is of before.
	page := b.value(`(async () => {
		const words = await import("/words.js");
		const field = (u, f) => document.querySelector("[data-uplink=" + u.interface + "] [data-f=" + f + "]").textContent.replace(/[\s\u202f↓↑]/g, "");
		const stream = new EventSource("api/events");
		let tries = 0, last = "";
		try {
			return await new Promise((done, fail) => {
				stream.onmessage = async (e) => {
					const status = JSON.parse(e.data);
					await new Promise((r) => setTimeout(r, 50));
					const wrong = [];
					for (const u of status.uplinks) {
						const want = { rx: words.rate(u.rx_bps), tx: words.rate(u.tx_bps), rtt: words.milliseconds(u.rtt_ms), jitter: words.milliseconds(u.jitter_ms),
							loss: words.percent(u.loss_pct), best: words.rate(u.deliver_rx_bps), bytes: words.bytes(u.rx_bytes + u.tx_bytes), state: [u.state], role: [u.role] };
						for (const f in want) {
							if (field(u, f) !== want[f].join("").replace(/\s/g, "")) wrong.push(u.interface + " " + f + ": " + field(u, f) + ", the API has " + want[f].join(" "));
						}
					}
					if (tries > 0 && !wrong.length) done(JSON.stringify(status.uplinks));
					if (++tries === 20) fail(new Error(wrong.join("; ")));
				};
			});
		} finally {
			stream.close();
		}
	})()`)
	after, err := w.Client.Status(w.ctx)
	w.must(err)
	var shown []daemon.Uplink
	w.must(json.Unmarshal([]byte(page), &shown))
	for i, u := range shown {
		if u.Interface != before.Uplinks[i].Interface || u.RxBytes < before.Uplinks[i].RxBytes || u.RxBytes > after.Uplinks[i].RxBytes {
			w.Errorf("the page has %s with %d bytes, the control socket %d before and %d after", u.Interface, u.RxBytes, before.Uplinks[i].RxBytes, after.Uplinks[i].RxBytes)
		}
	}
}
