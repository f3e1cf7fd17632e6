package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Changes are what a daemon lets be changed while it runs; what is nil it does not.
type Changes struct {
	Roles   Changer     // of a client's uplinks
	Config  Reloader    // of either
	Clients Enroller    // of a server
	Speed   Speedtester // of a client's uplinks
}

// uplinksPath begins the path of each uplink, which its name ends.
const uplinksPath = "/v1/uplinks/"

// Changer changes what a running client does. Its methods are called from any
// goroutine, and their effect ends with the daemon: what shall stay is written
// in the configuration.
type Changer interface {
	// SetRole gives an uplink a role, or with RoleDefault that of the
	// configuration back. It is never called with another word than Roles has.
	// For an uplink that is not there it returns an *UnknownUplinkError; any
	// other error says that the role could not be changed, and may have a
	// method Hint() string.
	SetRole(uplink, role string) error
}

// Roles returns what an uplink's role can be changed to.
func Roles() []string {
	return []string{RoleBond, RoleOverflow, RoleBackup, RoleNever, RoleDefault}
}

// UnknownUplinkError says that there is no such uplink.
type UnknownUplinkError struct {
	Uplink string
	Known  []string // the names of those that are there
}

func (e *UnknownUplinkError) Error() string { return "unknown uplink " + shown(e.Uplink) }

// Hint names the uplinks that are there.
func (e *UnknownUplinkError) Hint() string {
	if len(e.Known) == 0 {
		return "there is no uplink now"
	}
	return "there are: " + strings.Join(e.Known, ", ")
}

// Refusal is a daemon's answer when it did not do what it was asked. It is the
// JSON of that answer, and on this side the error.
type Refusal struct {
	Status  int    `json:"-"` // of HTTP: 404 no such uplink, 400 no such role, and so on
	Problem string `json:"error"`
	Mend    string `json:"hint"`
	// Reader is whether whoever asked may read and change nothing.
	Reader bool `json:"reader,omitempty"`
	// More are further faults, when there are several in a configuration.
	More []*Refusal `json:"more,omitempty"`
}

func (r *Refusal) Error() string { return r.Problem }

// Hint says how to mend it; it may be empty.
func (r *Refusal) Hint() string { return r.Mend }

// write sends the refusal.
func (r *Refusal) write(w http.ResponseWriter) {
	b, err := json.Marshal(r)
	if err != nil { // two strings
		http.Error(w, r.Problem, r.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.Status)
	w.Write(append(b, '\n'))
}

// roleChange is the body of a request that changes an uplink's role.
type roleChange struct {
	Role string `json:"role"`
}

// maxChangeBytes bounds the body of a request: a role and generous spaces.
const maxChangeBytes = 4 << 10

// changeRole serves POST /v1/uplinks/NAME. Its body is {"role": "backup"}; the
// answer is 204 without a body, or a Refusal.
func changeRole(change Changer) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if change == nil {
			(&Refusal{Status: http.StatusForbidden, Problem: "this braid does not let its uplinks be changed while it runs", Mend: "set the role in the client's configuration"}).write(w)
			return
		}
		c, refusal := decodeChange(http.MaxBytesReader(w, req.Body, maxChangeBytes))
		if refusal != nil {
			refusal.write(w)
			return
		}
		if err := change.SetRole(req.PathValue("name"), c.Role); err != nil {
			refusalOf(err).write(w)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// refusalOf makes a refusal of what a Changer returned.
func refusalOf(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	r := &Refusal{Status: http.StatusInternalServerError, Problem: err.Error()}
	if _, unknown := errors.AsType[*UnknownUplinkError](err); unknown {
		r.Status = http.StatusNotFound
	}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		r.Mend = h.Hint()
	}
	return r
}

// decodeChange reads the body of a request.
func decodeChange(body io.Reader) (roleChange, *Refusal) {
	bad := func(problem, mend string) (roleChange, *Refusal) {
		return roleChange{}, &Refusal{Status: http.StatusBadRequest, Problem: problem, Mend: mend}
	}
	var c roleChange
	if refusal := decodeBody(body, &c, `send {"role": "backup"}`); refusal != nil {
		return roleChange{}, refusal
	}
	choices := "choose one of: " + strings.Join(Roles(), ", ")
	switch {
	case c.Role == "":
		return bad("the request has no role", choices)
	case !slices.Contains(Roles(), c.Role):
		return bad("unknown role "+shown(c.Role), choices)
	}
	return c, nil
}

// shown is a word of a request as it stands in a message: quoted and short.
func shown(word string) string {
	const limit = 40
	if r := []rune(word); len(r) > limit {
		word = string(r[:limit]) + "…"
	}
	return fmt.Sprintf("%q", word)
}
