package e2e

import (
	"net/netip"
	"time"

	"braid/lab/probe"
)

// transfers are a download and an upload of verified bytes that run beside a test.
type transfers struct {
	w        *world
	server   *probe.HTTPServer
	down     *probe.Meter
	downSize int64
	upSize   int64
	results  chan transferred
}

type transferred struct {
	what string
	want int64
	got  probe.Transfer
	err  error
}

// startTransfers begins both between the client and the internet host.
func (w *world) startTransfers(down, up int64) *transfers {
	w.Helper()
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	x := &transfers{w: w, server: s, down: probe.NewMeter(), downSize: down, upSize: up, results: make(chan transferred, 2)}
	go func() {
		got, err := probe.Download(w.ctx, w.Net.Client, s.URL(w.Net.InternetAddr4, down), x.down)
		x.results <- transferred{"download", down, got, err}
	}()
	go func() {
		got, err := probe.Upload(w.ctx, w.Net.Client, s.URL(w.Net.InternetAddr4, 0), up)
		x.results <- transferred{"upload", up, got, err}
	}()
	return x
}

// progress waits for more to arrive of both that are not yet complete.
func (x *transfers) progress(bytes int64) {
	x.w.Helper()
	down := min(x.down.Total()+bytes, x.downSize)
	up := min(x.server.Uploads.Total()+bytes, x.upSize)
	for end := time.Now().Add(patience); x.down.Total() < down || x.server.Uploads.Total() < up; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			x.w.Fatalf("the download stands at %d bytes of %d, the upload at %d of %d",
				x.down.Total(), x.downSize, x.server.Uploads.Total(), x.upSize)
		}
	}
}

// firstByte waits for the first byte of either to arrive from now on.
func (x *transfers) firstByte() (down, up time.Duration) {
	x.w.Helper()
	began, wasDown, wasUp := time.Now(), x.down.Total(), x.server.Uploads.Total()
	for end := began.Add(2 * patience); down == 0 || up == 0; time.Sleep(time.Millisecond) {
		if down == 0 && x.down.Total() > wasDown {
			down = time.Since(began)
		}
		if up == 0 && x.server.Uploads.Total() > wasUp {
			up = time.Since(began)
		}
		if time.Now().After(end) {
			x.w.Fatalf("nothing came within %v: download after %v, upload after %v", 2*patience, down, up)
		}
	}
	return down, up
}

// unfinished fails unless both still have something to bring: else what the
// test did in between met nothing.
func (x *transfers) unfinished() {
	x.w.Helper()
	if x.down.Total() == x.downSize || x.server.Uploads.Total() == x.upSize {
		x.w.Fatalf("complete too early: download %d of %d bytes, upload %d of %d",
			x.down.Total(), x.downSize, x.server.Uploads.Total(), x.upSize)
	}
}

// finish waits for the end of both and verifies all bytes.
func (x *transfers) finish() {
	x.w.Helper()
	for range 2 {
		r := <-x.results
		x.w.must(r.err)
		if r.got.Bytes != r.want || r.got.SHA256 != probe.SHA256(r.want) {
			x.w.Errorf("%s: %d bytes with sum %s, want %d with %s", r.what, r.got.Bytes, r.got.SHA256, r.want, probe.SHA256(r.want))
		}
	}
	x.w.must(x.server.Close())
}
