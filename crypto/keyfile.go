package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keyFileLimitBytes bounds what is read of a key file. A key and its newline
// are 45 bytes; the rest is room for stray white space.
const keyFileLimitBytes = 256

// othersMode is what nobody but the owner may have of a key file.
const othersMode fs.FileMode = 0o077

// KeyFileError says why a key file could not be read or written. It never
// contains any of the file's content.
type KeyFileError struct {
	Path    string // as the caller gave it
	Problem string // what is wrong
	Mend    string // what to do about it, or ""
	Err     error  // the cause, or nil
}

func (e *KeyFileError) Error() string { return "key file " + e.Path + ": " + e.Problem }

// Hint says how to mend it.
func (e *KeyFileError) Hint() string { return e.Mend }

// Unwrap returns the cause, so that errors.Is(err, fs.ErrNotExist) works.
func (e *KeyFileError) Unwrap() error { return e.Err }

// LoadKeyFile reads a private key from the file at path, which holds the key's
// text and at most white space after it. A file that others can read or write
// is refused, for its key is no secret any more; but root's may be readable by
// the group of the user that this process runs as, as of a service. The error is
// a *KeyFileError.
func LoadKeyFile(path string) (PrivateKey, error) {
	fail := func(err error, mend, format string, args ...any) (PrivateKey, error) {
		return PrivateKey{}, &KeyFileError{Path: path, Problem: fmt.Sprintf(format, args...), Mend: mend, Err: err}
	}

	// Opening a FIFO without O_NONBLOCK would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		mend := ""
		if errors.Is(err, fs.ErrNotExist) {
			mend = "make a key with: braid keygen " + shellWord(path)
		}
		return fail(err, mend, "%v", cause(err))
	}
	defer f.Close()

	// The checks are on the open file, not on the path, which could change
	// between check and use.
	info, err := f.Stat()
	if err != nil {
		return fail(err, "", "%v", cause(err))
	}
	switch {
	case info.IsDir():
		return fail(nil, "name the file in it", "it is a directory")
	case !info.Mode().IsRegular():
		return fail(nil, "", "it is not a regular file")
	case info.Mode().Perm()&othersMode != 0 && !servesGroup(info):
		return fail(nil, "chmod 600 "+shellWord(path), "its mode %04o lets others than the owner use it", info.Mode().Perm())
	}

	text, err := io.ReadAll(io.LimitReader(f, keyFileLimitBytes+1))
	defer clear(text)
	if err != nil {
		return fail(err, "", "%v", cause(err))
	}
	const keygen = "a key file holds one line of 44 characters; make one with: braid keygen FILE"
	switch {
	case len(text) > keyFileLimitBytes:
		return fail(nil, keygen, "it is larger than %d bytes and so no key file", keyFileLimitBytes)
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		return fail(nil, keygen, "it is a PEM file, not a braid key")
	}
	key, err := ParsePrivateKey(string(bytes.TrimRight(text, " \t\r\n")))
	if err != nil {
		return fail(err, keygen, "%v", err)
	}
	return key, nil
}

// servesGroup reports whether a file is root's, and besides root only this
// process's own group can read it.
func servesGroup(info fs.FileInfo) bool {
	const groupRead fs.FileMode = 0o040
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&othersMode == groupRead &&
		owner.Uid == 0 && owner.Gid != 0 && (os.Geteuid() == 0 || int(owner.Gid) == os.Getegid())
}

// WriteKeyFile writes key to a new file at path with mode 0600. It never
// replaces a file: when path exists, whatever it is, errors.Is(err,
// fs.ErrExist) holds. The file appears complete and synced to disk, or not at
// all. The error is a *KeyFileError.
func WriteKeyFile(path string, key PrivateKey) error {
	fail := func(err error) error {
		e := &KeyFileError{Path: path, Problem: cause(err).Error(), Err: err}
		if errors.Is(err, fs.ErrExist) {
			e.Problem = "it exists already, and a key is never overwritten"
			e.Mend = "choose another name, or move that file away first"
		}
		return e
	}
	if key.IsZero() {
		return fail(errors.New("there is no key to write"))
	}
	// Ask first, so that the usual mistake does not touch the directory. The
	// rename below is what guarantees it.
	if _, err := os.Lstat(path); err == nil {
		return fail(fs.ErrExist)
	}

	dir := filepath.Dir(path)
	// CreateTemp opens with O_EXCL and mode 0600.
	f, err := os.CreateTemp(dir, ".braid-key-*")
	if err != nil {
		return fail(err)
	}
	temp := f.Name()
	if err := errors.Join(fillKeyFile(f, key), f.Close()); err != nil {
		return fail(errors.Join(err, os.Remove(temp)))
	}
	if err := renameNew(temp, path); err != nil {
		_ = os.Remove(temp)
		return fail(err)
	}
	// The file is there and whole. That its name survives a power cut is best
	// effort: not every file system can sync a directory.
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// fillKeyFile writes key to f, syncs it and makes sure that nobody else can
// read it.
func fillKeyFile(f *os.File, key PrivateKey) error {
	// A strict umask may have taken bits from the owner too.
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&othersMode != 0 {
		return fmt.Errorf("its file system gives every file mode %04o, so others could read it", mode)
	}
	if _, err := f.WriteString(key.Reveal() + "\n"); err != nil {
		return err
	}
	return f.Sync()
}

// renameNew renames from to to in one step, and fails when to exists.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// Some file systems (NFS) cannot do that, but have hard links, which do
	// not replace either.
	if err := os.Link(from, to); err != nil {
		return err
	}
	_ = os.Remove(from)
	return nil
}

// cause strips the path that the os package adds: KeyFileError names it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// shellWord quotes path for a shell where that is necessary, so that a hint
// can be pasted.
func shellWord(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@,", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
