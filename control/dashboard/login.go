package dashboard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// Wrong tokens are answered so many times at once, and then one each second, from
// all of the world together: no token of some length is guessed like this, and who
// is logged in does not notice.
const (
	loginBurst = 20
	loginRate  = rate.Limit(1)
)

// cookieAge is how long a browser stays logged in.
const cookieAge = 90 * 24 * time.Hour

// login lets browsers in that have shown the token. What they keep is derived from
// it: it holds over restarts, ends when the token is another one, and does not
// give the token away.
type login struct {
	token   string // "": everybody is let in
	name    string // of the cookie: hosts may have more than one dashboard
	value   string
	refused *rate.Limiter
}

func newLogin(token string) *login {
	return &login{
		token: token, name: "braid-" + derived(token, "name")[:8], value: derived(token, "value"),
		refused: rate.NewLimiter(loginRate, loginBurst),
	}
}

// derived makes a secret for one purpose of the token.
func derived(token, purpose string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("braid dashboard cookie " + purpose))
	return hex.EncodeToString(m.Sum(nil))
}

// same compares without telling by its time how much is right.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return hmac.Equal(x[:], y[:])
}

// ServeHTTP serves POST /login with the form's field token.
func (l *login) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, tokenLimitBytes+64)
	given := req.PostFormValue("token")
	if l.refused.Tokens() < 1 {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "Too many wrong tokens. Wait a moment.", http.StatusTooManyRequests)
		return
	}
	if l.token == "" || !same(given, l.token) {
		l.refused.Allow()
		http.Error(w, "This is not the token.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: l.name, Value: l.value, Path: "/", MaxAge: int(cookieAge / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}

// only answers who has not logged in with 401.
func (l *login) only(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if l.token != "" {
			c, err := req.Cookie(l.name)
			if err != nil || !same(c.Value, l.value) {
				http.Error(w, "The token is needed.", http.StatusUnauthorized)
				return
			}
		}
		h(w, req)
	}
}
