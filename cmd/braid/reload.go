package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"braid/config"
	"braid/control"
	"braid/crypto"
)

// reloadable is what a kind of daemon knows of reading its configuration again.
type reloadable[T any] struct {
	open    func(path string) (*config.File[T], error)
	changes func(before, after []byte) []string
	keyFile func(*T) string
	// live reports whether a key can be changed while running, when those in
	// pending are to be changed and cannot.
	live func(key string, pending []string) bool
	// take applies all of a configuration that is live, and returns what of it did
	// not work.
	take func(next *T, pending []string) []error
}

// reloader reads a daemon's configuration again, at SIGHUP and when it is asked.
type reloader[T any] struct {
	reloadable[T]
	log     *slog.Logger
	manager *serviceManager
	key     crypto.PublicKey // that the daemon runs with
	signals chan os.Signal
	onTerm  bool // the daemon was started in a terminal

	mu    sync.Mutex      // guards what follows, and makes reloads one after the other
	began *config.File[T] // that the daemon started with
	now   *config.File[T] // that was taken last
}

// newReloader takes SIGHUP from now on, until close.
func newReloader[T any](file *config.File[T], key crypto.PublicKey, r reloadable[T], log *slog.Logger) *reloader[T] {
	l := &reloader[T]{reloadable: r, log: log, manager: newServiceManager(log), key: key, signals: make(chan os.Signal, 1), onTerm: inTerminal(), began: file, now: file}
	signal.Notify(l.signals, unix.SIGHUP)
	return l
}

func (r *reloader[T]) close() { signal.Stop(r.signals) }

// errHungUp ends a daemon whose terminal is gone.
var errHungUp = errors.New("the terminal was closed")

// run reloads at each SIGHUP until ctx ends. When that came because the terminal
// was closed in which the daemon was started, it ends the daemon.
func (r *reloader[T]) run(ctx context.Context) error {
	for {
		select {
		case <-r.signals:
		case <-ctx.Done():
			return nil
		}
		if r.onTerm && !inTerminal() {
			return errHungUp
		}
		_, _ = r.Reload() // it has logged what became of it
	}
}

// inTerminal reports whether standard input is a terminal that is there.
func inTerminal() bool { return isTerminal(os.Stdin) }

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Reload implements control.Reloader.
func (r *reloader[T]) Reload() (control.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.manager.reloading()()
	next, err := r.open(r.began.Path)
	if err == nil {
		_, err = loadKey(r.keyFile(next.Config))
	}
	if err != nil {
		refusal := refusalOf(err)
		for _, one := range append([]*control.Refusal{refusal}, refusal.More...) {
			r.log.Error("configuration not reloaded: the old one stays", "error", one.Problem, "hint", one.Mend)
		}
		return control.Reloaded{}, refusal
	}
	return r.takeLocked(next), nil
}

// takeLocked takes a configuration without faults.
func (r *reloader[T]) takeLocked(next *config.File[T]) control.Reloaded {
	done := control.Reloaded{Applied: []string{}, Restart: []string{}}
	pending := r.changes(r.began.Text, next.Text)
	if key, err := loadKey(r.keyFile(next.Config)); (err != nil || key.Public() != r.key) && !slices.Contains(pending, "private_key_file") {
		pending = append(pending, "private_key_file")
	}
	pending = slices.DeleteFunc(pending, func(key string) bool { return r.live(key, nil) })
	for _, key := range r.changes(r.now.Text, next.Text) {
		if r.live(key, pending) {
			done.Applied = append(done.Applied, key)
		} else if !slices.Contains(pending, key) && r.live(key, nil) {
			pending = append(pending, key)
		}
	}
	done.Restart = append(done.Restart, pending...)
	for _, err := range r.take(next.Config, pending) {
		r.log.Error("configuration not applied in full", "error", err, "hint", crypto.Hint(err))
		done.Problems = append(done.Problems, err.Error())
	}
	r.now = next
	r.log.Info("configuration reloaded", "file", next.Path, "changed", done.Applied, "needs_restart", done.Restart)
	return done
}

// refusalOf says in the control API's words why a configuration was not taken.
func refusalOf(err error) *control.Refusal {
	r := &control.Refusal{Status: http.StatusUnprocessableEntity, Problem: err.Error(), Mend: crypto.Hint(err)}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		r.Status = http.StatusForbidden
	}
	if faults, ok := errors.AsType[*config.Errors](err); ok {
		for i, e := range faults.List {
			if i == 0 {
				r.Problem, r.Mend = e.Error(), e.Hint()
				continue
			}
			r.More = append(r.More, &control.Refusal{Problem: e.Error(), Mend: e.Hint()})
		}
	}
	return r
}

func newReloadCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "reload",
		Short: "Let the running braid read its configuration again",
		Long: "reload lets the running client or server read its configuration again. A file with faults changes\n" +
			"nothing. Otherwise what can be changed holds at once, without a break for what is connected, and\n" +
			"what needs a restart is named. SIGHUP does the same.\n" +
			"Without --control it tells every braid that has its control socket in " + runDir + ".",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sockets := controlSockets(socket)
			var errs []error
			told := 0
			for _, s := range sockets {
				done, err := control.Reload(cmd.Context(), s)
				if _, dead := errors.AsType[*control.Error](err); dead && len(sockets) > 1 {
					errs = append(errs, err) // a socket that a dead daemon left is no news
					continue
				}
				told++
				if err != nil {
					return changeRefused(err)
				}
				where := ""
				if len(sockets) > 1 {
					where = s + ": "
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s%s\n", where, done.Text())
			}
			if told == 0 {
				return errors.Join(errs...)
			}
			return nil
		},
	}
	c.Flags().StringVar(&socket, "control", "", "the daemon's control socket")
	return c
}

// changeRefused makes a fault of what the user wrote an error of usage.
func changeRefused(err error) error {
	if r, ok := errors.AsType[*control.Refusal](err); ok && r.Status >= 400 && r.Status < 500 && !r.Reader {
		return &configError{err}
	}
	return err
}
