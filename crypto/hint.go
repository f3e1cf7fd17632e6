package crypto

import "errors"

// Hinter is an error that knows a mend. The command line prints the error
// after "error:" and the hint after "hint:". Any package may implement it
// without importing this one.
type Hinter interface {
	error
	// Hint says what the user can do about it, in one line without a full
	// stop, or "" when there is nothing to say.
	Hint() string
}

// Hint returns the hint of the first error in err's tree that has one, or "".
func Hint(err error) string {
	var h Hinter
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
