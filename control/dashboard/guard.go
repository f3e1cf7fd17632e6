package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// policy is what the page may do in a browser: use what comes from here, and
// nothing else. Nothing inline, nothing from elsewhere, in nobody's frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard keeps other web sites from using a visitor's browser against the
// dashboard.
//
// Without a token everybody on this host may look, so a site whose name leads to
// 127.0.0.1 could (DNS rebinding): only names that no site can have are answered.
// With one the cookie does it, which belongs to a name, and the dashboard may have
// any. Requests that another site causes are refused, but for opening the page by a
// link. Browsers tell that to loopback addresses (W3C, "Fetch Metadata Request
// Headers"); elsewhere, without TLS, they do not, and again the cookie does it.
func guard(token bool, next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		if !token && !ownName(req.Host) {
			http.Error(w, "The dashboard without a token answers to addresses and to localhost only, not to the name in this request.\n"+
				"To use a name, set token_file in [dashboard].", http.StatusMisdirectedRequest)
			return
		}
		if elsewhere(req) {
			http.Error(w, "The dashboard does not answer to other sites.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// ownName reports whether the Host of a request is an address or localhost. A
// browser asks no name server for these.
func ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost")
}

// elsewhere reports whether a browser says that another site caused a request
// that is not for showing the page.
func elsewhere(req *http.Request) bool {
	switch req.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return req.Header.Get("Sec-Fetch-Mode") != "navigate" || req.Header.Get("Sec-Fetch-Dest") != "document" ||
		strings.HasPrefix(req.URL.Path, "/api/")
}
