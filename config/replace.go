package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Edit replaces the text of the server's configuration at path with what edit
// makes of it, and returns what the new text says. The whole of it is checked
// before. Whenever the host dies the old or the new file is there, whole, with
// the same mode and owner; a symbolic link stays, and what it names is replaced.
// Edits of several processes come one after the other. Errors are those of
// LoadServer and of edit, or a *FileError.
func Edit(path string, edit func(data []byte) ([]byte, error)) (*File[Server], error) {
	fail := func(err error) (*File[Server], error) {
		return nil, &FileError{Path: path, Problem: "not changed: " + cause(err).Error(), Mend: "edit it as root, on a disk that can be written", Err: err}
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		target = path // reading it gives the better message
	}
	// The lock is on the folder: the file itself is another one afterwards.
	dir, err := os.Open(filepath.Dir(target))
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fail(fmt.Errorf("lock its folder: %w", err))
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	text, err := edit(data)
	if err != nil {
		return nil, err
	}
	changed, err := openText(path, text, ParseServer)
	if err != nil {
		return nil, err
	}
	if err := replace(target, text); err != nil {
		return fail(err)
	}
	if err := dir.Sync(); err != nil { // the rename itself must last too
		return fail(err)
	}
	return changed, nil
}

// replace gives an existing file another content.
func replace(path string, content []byte) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	// The owner first: changing it takes bits from the mode.
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
