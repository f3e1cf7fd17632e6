package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"braid/lab"
	"braid/lab/emulator"
)

// HTTPServer serves generated files and takes uploads:
//
//	GET /N    N bytes, with the SHA-256 that SHA256(N) gives
//	PUT /     answers with the number of bytes of the body and their SHA-256
type HTTPServer struct {
	Addr    netip.AddrPort
	Uploads *Meter // of all bodies

	server *http.Server
	ended  chan error
}

// ServeHTTP serves in a host on an address such as 192.0.2.2:80, or :80 for all.
func ServeHTTP(h *lab.Host, address string) (*HTTPServer, error) {
	listener, err := h.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve http in %s: %w", h.Name(), err)
	}
	s := &HTTPServer{
		Addr:    addrPortOf(listener.Addr()),
		Uploads: NewMeter(),
		server:  &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)},
		ended:   make(chan error, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{size}", s.get)
	mux.HandleFunc("PUT /", s.put)
	s.server.Handler = mux
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

// URL returns the location of n bytes. Of a server on all addresses it needs an
// address; else pass the zero value.
func (s *HTTPServer) URL(at netip.Addr, n int64) string {
	if !at.IsValid() {
		at = s.Addr.Addr()
	}
	return fmt.Sprintf("http://%v/%d", netip.AddrPortFrom(at, s.Addr.Port()), n)
}

// Close ends the server and its connections.
func (s *HTTPServer) Close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (s *HTTPServer) get(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("size"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "want /SIZE", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.Copy(w, Content(n)) // the client sees when it fails
}

func (s *HTTPServer) put(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(hash, s.Uploads), r.Body)
	if err != nil {
		return // the client is gone
	}
	fmt.Fprintln(w, n, hex.EncodeToString(hash.Sum(nil)))
}

// Transfer is the result of a download or upload.
type Transfer struct {
	Bytes  int64
	SHA256 string // of what arrived
	Took   time.Duration
}

// Rate is the mean rate, connection set-up included.
func (t Transfer) Rate() emulator.BitRate {
	return emulator.BitRate(float64(t.Bytes) * 8 / t.Took.Seconds())
}

// Client returns an HTTP client whose connections start in a host. It resolves
// no names. Close its idle connections in the end.
func Client(h *lab.Host) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.DialContext, DisableCompression: true}}
}

// Download fetches a URL from inside a host on a connection of its own, and
// meters the body if there is a meter, which it stops. After an error the
// Transfer tells how far it got.
func Download(ctx context.Context, h *lab.Host, url string, m *Meter) (Transfer, error) {
	if m == nil {
		m = NewMeter()
	}
	defer m.Stop()
	return exchange(ctx, h, http.MethodGet, url, nil, func(body io.Reader) (t Transfer, err error) {
		hash := sha256.New()
		t.Bytes, err = io.Copy(io.MultiWriter(hash, m), body)
		t.SHA256 = hex.EncodeToString(hash.Sum(nil))
		return t, err
	})
}

// Upload sends Content(n) to an HTTPServer's URL from inside a host. The result
// is what the server says it received.
func Upload(ctx context.Context, h *lab.Host, url string, n int64) (Transfer, error) {
	return exchange(ctx, h, http.MethodPut, url, Content(n), func(body io.Reader) (t Transfer, err error) {
		_, err = fmt.Fscan(body, &t.Bytes, &t.SHA256)
		return t, err
	})
}

func exchange(ctx context.Context, h *lab.Host, method, url string, send io.Reader,
	receive func(io.Reader) (Transfer, error)) (t Transfer, err error) {
	begin := time.Now()
	client := Client(h)
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, url, send)
	if err != nil {
		return t, err
	}
	response, err := client.Do(request)
	if err != nil {
		return t, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return t, fmt.Errorf("%s %s: %s: %s", method, url, response.Status, strings.TrimSpace(string(text)))
	}
	t, err = receive(response.Body)
	t.Took = time.Since(begin)
	if err != nil {
		err = fmt.Errorf("%s %s: after %d bytes and %v: %w", method, url, t.Bytes, t.Took, err)
	}
	return t, err
}

// addrPortOf returns the address of a socket, IPv4 as such.
func addrPortOf(a net.Addr) netip.AddrPort {
	var p netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		p = a.AddrPort()
	case *net.UDPAddr:
		p = a.AddrPort()
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
