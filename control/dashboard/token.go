package dashboard

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of a token, for those who write their own. braid's have 26 characters.
const (
	tokenLeastBytes = 16
	tokenLimitBytes = 256
)

// TokenError is a token's file that cannot be used, with a way to mend it.
type TokenError struct {
	Path string
	Err  error
	Mend string
}

func (e *TokenError) Error() string { return fmt.Sprintf("dashboard token %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// Hint says how to mend it.
func (e *TokenError) Hint() string { return e.Mend }

// OpenToken returns the token in the file at path: one line of 16 to 256 letters,
// digits and signs, that others than the file's owner and group cannot read. Where
// there is no file it makes one with a new token, for the owner alone. The error
// is a *TokenError.
func OpenToken(path string) (string, error) {
	token, err := readToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	if err := makeToken(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", &TokenError{path, fmt.Errorf("it is not there, and cannot be made: %w", cause(err)), "make it, as root, with: braid dashboard"}
	}
	return readToken(path)
}

func readToken(path string) (string, error) {
	fail := func(err error, mend string) (string, error) { return "", &TokenError{path, err, mend} }
	// Opening a FIFO without O_NONBLOCK would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail(cause(err), "let the user that runs braid read it")
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fail(cause(err), "")
	case !info.Mode().IsRegular():
		return fail(errors.New("it is not a regular file"), "name another one")
	case info.Mode().Perm()&0o007 != 0:
		return fail(fmt.Errorf("its mode %04o lets everybody on this host use it", info.Mode().Perm()), "take that away with: chmod o= FILE")
	}
	text, err := io.ReadAll(io.LimitReader(f, tokenLimitBytes+2))
	if err != nil {
		return fail(cause(err), "")
	}
	text = bytes.TrimRight(text, "\r\n")
	plain := !bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	if !plain || len(text) < tokenLeastBytes || len(text) > tokenLimitBytes {
		return fail(fmt.Errorf("it must hold one line of %d to %d letters, digits and signs", tokenLeastBytes, tokenLimitBytes),
			"remove it: another one is made")
	}
	return string(text), nil
}

// makeToken makes the file with a new token, whole or not at all. Beside files that
// a group reads, as a package has them for the daemon's user, it is like its folder:
// of that group.
func makeToken(path string) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if info, serr := os.Stat(dir); serr == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Gid != uint32(os.Getegid()) && os.Geteuid() == 0 && info.Mode().Perm()&0o070 != 0 {
			if f.Chown(-1, int(owner.Gid)) == nil { // a daemon may not
				err = f.Chmod(0o640)
			}
		}
	}
	if err == nil {
		_, err = f.WriteString(rand.Text() + "\n")
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename it replaces nothing
}

// cause strips the path that the os package adds: TokenError names it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
