package control

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

const reloadPath = "/v1/reload"

// Reloader reads a running daemon's configuration again. Its method is called
// from any goroutine.
type Reloader interface {
	// Reload reads the whole file, and does nothing when it is faulty: the error
	// is a *Refusal then, with all faults. Otherwise what can be changed while
	// running is, and the answer tells of all of it.
	Reload() (Reloaded, error)
}

// Reloaded is what became of a configuration that was read again.
type Reloaded struct {
	Applied  []string `json:"applied"`            // keys whose new values hold now
	Restart  []string `json:"restart"`            // keys whose new values hold when the daemon is started again
	Problems []string `json:"problems,omitempty"` // what of it did not work, in sentences
}

// Text says it for people, in one line without its end.
func (r Reloaded) Text() string {
	var parts []string
	if len(r.Applied) > 0 {
		parts = append(parts, "changed: "+strings.Join(r.Applied, ", "))
	}
	if len(r.Restart) > 0 {
		parts = append(parts, "needs a restart: "+strings.Join(r.Restart, ", "))
	}
	parts = append(parts, r.Problems...)
	if len(parts) == 0 {
		return "nothing has changed"
	}
	return strings.Join(parts, "; ")
}

// reload serves POST /v1/reload, without a body. The answer is Reloaded, or a
// Refusal.
func reload(r Reloader) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if r == nil {
			notHere("this braid does not read its configuration again").write(w)
			return
		}
		done, err := r.Reload()
		answer(w, done, err)
	}
}

// notHere is the answer to a change that this daemon does not make.
func notHere(problem string) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Problem: problem}
}

// answer writes what a change returned.
func answer(w http.ResponseWriter, done any, err error) {
	if err != nil {
		refusalOf(err).write(w)
		return
	}
	b, err := json.Marshal(done)
	if err != nil { // strings, addresses
		refusalOf(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

// Reload asks the daemon behind the socket at path to read its configuration
// again. The error is a *Refusal when it did not, and an *Error when it could
// not be asked.
func Reload(ctx context.Context, path string) (Reloaded, error) {
	return order[Reloaded](ctx, path, http.MethodPost, reloadPath, nil)
}

// order asks the daemon behind the socket at path to do something and returns
// its answer.
func order[T any](ctx context.Context, path, method, target string, body []byte) (done T, err error) {
	status, b, err := ask(ctx, path, method, target, body)
	if err != nil {
		return done, err
	}
	if status == http.StatusOK && json.Unmarshal(b, &done) == nil {
		return done, nil
	}
	return done, refused(path, status, b)
}

// refused is the error for an answer that is not the one wanted.
func refused(path string, status int, answer []byte) error {
	refusal := &Refusal{Status: status}
	if json.Unmarshal(answer, refusal) != nil || refusal.Problem == "" {
		return unexpected(path, status)
	}
	return refusal
}
