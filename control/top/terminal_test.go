package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"braid/control"
)

// screen is a pseudoterminal, and what was written to it.
type screen struct {
	keys *os.File // the terminal's own end
	line *os.File // the program's

	mu   sync.Mutex // guards text
	text strings.Builder
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := keys.SyscallConn() // Fd would let Read block in spite of Close
	if err != nil {
		t.Fatal(err)
	}
	var n int
	prepare := func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
		}
		if err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}
	if failed := raw.Control(prepare); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	// Nobody closes it: a program that has ended may have a reader for a moment.
	line, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{keys: keys, line: line}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := keys.Read(b)
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return // closed
			}
		}
	}()
	t.Cleanup(func() {
		keys.Close()
		<-read
	})
	return s
}

func (s *screen) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

func (s *screen) settings(t *testing.T) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(s.line.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}

// broken is a model that panics when it shall draw a frozen picture.
type broken struct{ *Model }

func (b broken) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	_, cmd := b.Model.Update(msg)
	return b, cmd
}

func (b broken) View() tea.View {
	if b.frozen != nil {
		panic("a fault of ours")
	}
	return b.Model.View()
}

func options(socket string, in, out *os.File) Options {
	return Options{Socket: socket, Interval: control.MinInterval, In: in, Out: out, Environ: []string{"TERM=xterm", "LANG=C.UTF-8"}}
}

// A panic is tried in a process of its own, which TestMain is then: the library
// closes its reader beside the goroutine that reads, which the race detector sees.
const (
	panicVariable = "BRAID_TOP_PANICS" // has the socket
	panicCode     = 7
)

var errPanicked = errors.New("it panicked")

// elsewhere runs a view that panics in a process of its own.
func elsewhere(s *screen, socket string) error {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), panicVariable+"="+socket)
	c.Stdin, c.Stdout = s.line, s.line
	err := c.Run()
	if c.ProcessState.ExitCode() == panicCode {
		return errPanicked
	}
	return fmt.Errorf("another end: %w", err)
}

// panicking is the process that elsewhere starts; it returns its exit code.
func panicking(socket string) int {
	m := broken{NewModel(false, func(string, string) error { panic("a fault of ours") })}
	if err := run(context.Background(), options(socket, os.Stdin, os.Stdout), m); errors.Is(err, tea.ErrProgramPanic) {
		return panicCode
	}
	return 1
}

// However the view ends, the terminal is as it was.
func TestTerminalIsPutBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "braid.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(t.Context())
	go func() {
		served <- control.Serve(serving, l, func() any { return client() }, control.Changes{})
	}()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()

	for how, end := range map[string]func(s *screen, cancel func()){
		"q":                  func(s *screen, _ func()) { s.keys.WriteString("q") },
		"a signal":           func(_ *screen, cancel func()) { cancel() },
		"a panic in a key":   func(s *screen, _ func()) { s.keys.WriteString("u") },
		"a panic in drawing": func(s *screen, _ func()) { s.keys.WriteString("p") },
	} {
		panics := strings.HasPrefix(how, "a panic")
		s := newScreen(t)
		before := s.settings(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			if panics {
				done <- elsewhere(s, path)
				return
			}
			done <- run(ctx, options(path, s.line, s.line), NewModel(false, nil))
		}()
		for give := time.Now().Add(20 * time.Second); !s.has("WORKING"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(give) {
				t.Fatalf("%s: nothing drawn: %q", how, s.text.String())
			}
		}
		if s.settings(t) == before {
			t.Errorf("%s: keys do not come one by one", how)
		}
		end(s, cancel)
		err := <-done
		cancel()
		if panics != errors.Is(err, errPanicked) || !panics && err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if s.settings(t) != before {
			t.Errorf("%s: the line's settings are not as before", how)
		}
		for give := time.Now().Add(20 * time.Second); !s.has("\x1b[?1049l") || !s.has("\x1b[?25h"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(give) {
				t.Fatalf("%s: the other screen or no cursor: %q", how, s.text.String())
			}
		}
	}
}

// Without a terminal there is no view.
func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, o := range []Options{{}, {In: r, Out: w}} {
		if err := Run(t.Context(), o); !errors.Is(err, ErrNoTerminal) {
			t.Errorf("%v", err)
		}
	}
}
