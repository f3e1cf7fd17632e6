package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fileLimitBytes bounds what is read. A client takes some 150 bytes, so it is
// room for 100,000 of them.
const fileLimitBytes = 16 << 20

// FileError says why a configuration file could not be read.
type FileError struct {
	Path    string // as the caller gave it
	Problem string // what is wrong
	Mend    string // what to do about it, or ""
	Err     error  // the cause, or nil
}

func (e *FileError) Error() string { return "configuration " + e.Path + ": " + e.Problem }

// Hint says how to mend it.
func (e *FileError) Hint() string { return e.Mend }

// Unwrap returns the cause, so that errors.Is(err, fs.ErrNotExist) works.
func (e *FileError) Unwrap() error { return e.Err }

// LoadServer reads a server's configuration. The error is a *FileError when
// the file cannot be read and *Errors when it is wrong.
func LoadServer(path string) (*Server, error) { return loaded(OpenServer(path)) }

// LoadClient reads a client's configuration. The error is a *FileError when
// the file cannot be read and *Errors when it is wrong.
func LoadClient(path string) (*Client, error) { return loaded(OpenClient(path)) }

func loaded[T any](f *File[T], err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return f.Config, nil
}

// File is a configuration with the text that says it.
type File[T any] struct {
	Path   string // absolute
	Text   []byte
	Config *T
}

// Fault is an *Errors that says of the value of a key what is wrong with it, for
// what only the host knows. Keys of lists have none.
func (f *File[T]) Fault(key, problem, mend string) error {
	errs := &Errors{}
	n, wrong := parseTree(f.Text)
	if wrong != nil { // it was parsed before
		return wrong
	}
	for name := range strings.SplitSeq(key, ".") {
		if n.fields[name] == nil {
			break // a default
		}
		n = n.fields[name]
	}
	n.path = key
	errs.add(n, problem, mend)
	errs.inFile(f.Path)
	return errs
}

// OpenServer is LoadServer for who wants to compare the text with a later one.
func OpenServer(path string) (*File[Server], error) { return open(path, ParseServer) }

// OpenClient is LoadClient for who wants to compare the text with a later one.
func OpenClient(path string) (*File[Client], error) { return open(path, ParseClient) }

func open[T any](path string, parse func(data []byte, dir string) (*T, error)) (*File[T], error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return openText(path, data, parse)
}

// openText is open for what the file at path holds, or shall hold.
func openText[T any](path string, data []byte, parse func(data []byte, dir string) (*T, error)) (*File[T], error) {
	// The daemon may change its working directory later.
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &FileError{Path: path, Problem: err.Error(), Err: err}
	}
	parsed, err := parse(data, filepath.Dir(abs))
	if faults, ok := errors.AsType[*Errors](err); ok {
		faults.inFile(path)
	}
	if err != nil {
		return nil, err
	}
	return &File[T]{abs, data, parsed}, nil
}

func readFile(path string) ([]byte, error) {
	fail := func(err error, problem, mend string) ([]byte, error) {
		return nil, &FileError{Path: path, Problem: problem, Mend: mend, Err: err}
	}
	// Opening a FIFO without O_NONBLOCK would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		mend := ""
		switch {
		case errors.Is(err, fs.ErrNotExist):
			mend = "name the file with: -c FILE"
		case errors.Is(err, fs.ErrPermission):
			mend = "run it as root, or let this user read the file"
		}
		return fail(err, cause(err).Error(), mend)
	}
	defer f.Close()

	info, err := f.Stat()
	switch {
	case err != nil:
		return fail(err, cause(err).Error(), "")
	case info.IsDir():
		return fail(nil, "it is a directory", "name the file in it")
	case !info.Mode().IsRegular():
		return fail(nil, "it is not a regular file", "copy it to a file first")
	}
	data, err := io.ReadAll(io.LimitReader(f, fileLimitBytes+1))
	switch {
	case err != nil:
		return fail(err, cause(err).Error(), "")
	case len(data) > fileLimitBytes:
		return fail(nil, fmt.Sprintf("it is larger than %d MiB and so no configuration", fileLimitBytes>>20), "")
	}
	return data, nil
}

// cause strips the path that the os package adds: FileError names it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
