package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"braid/config"
	"braid/crypto"
	"braid/hostnet"
	"braid/mptcp"
	"braid/tunnel/tun"
)

// daemonFlags are what server and client have in common on the command line.
type daemonFlags struct {
	config   string
	logLevel string
}

// newDaemonCommand makes the command of a daemon that is run with the
// configuration that open reads.
func newDaemonCommand[T any](use, short string, open func(path string) (*config.File[T], error), run func(context.Context, *config.File[T], *slog.Logger) error) *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, _ []string) error {
		log, err := f.logger(cmd, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		file, err := open(f.config)
		if err != nil {
			return err
		}
		return run(cmd.Context(), file, log)
	}}
	f.add(c, use)
	return c
}

// configPath is where a daemon's configuration is by default.
func configPath(role string) string { return "/etc/braid/" + role + ".toml" }

// add gives a command the flags.
func (f *daemonFlags) add(c *cobra.Command, role string) {
	c.Flags().StringVarP(&f.config, "config", "c", configPath(role), "configuration file")
	c.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

// logger logs to w, without the time where the journal adds its own.
func (f *daemonFlags) logger(cmd *cobra.Command, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usage(cmd, fmt.Errorf("--log-level %q: want debug, info, warn or error", f.logLevel))
	}
	o := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}

// configError is a fault that lies in what the user wrote or keeps beside it.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// loadKey reads the daemon's private key.
func loadKey(path string) (crypto.PrivateKey, error) {
	key, err := crypto.LoadKeyFile(path)
	if err != nil {
		return key, &configError{err}
	}
	return key, nil
}

// hintedError adds a hint to an error.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }
func (e *hintedError) Hint() string  { return e.hint }

// base is what both daemons stand on. Its parts are closed in reverse.
type base struct {
	dir    string // of the control socket
	log    *slog.Logger
	host   *hostnet.Kernel
	net    *hostnet.Manager
	device *tun.Device
	paths  *mptcp.PathManager
	// remains is what of the host's network stays when all is closed: nothing,
	// or a kill switch.
	remains hostnet.Desired
}

// openBase checks the host and opens what both daemons need of it. What it has
// to remember for cleanup goes into dir.
func openBase(device, dir string, log *slog.Logger) (*base, error) {
	b, err := openHost(device, dir, hostnet.Desired{}, log)
	if err != nil {
		return nil, err
	}
	if err := b.open(device); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// openHost is the first part of openBase: it opens the host's network and makes
// it as first says, which is also what remains, until remains is another.
func openHost(device, dir string, first hostnet.Desired, log *slog.Logger) (*base, error) {
	if err := dropPrivileges(log); err != nil {
		return nil, err
	}
	b := &base{dir: dir, log: log, remains: first}
	var err error
	if b.host, err = hostnet.OpenHost(); err != nil {
		return nil, err
	}
	b.net = hostnet.New(b.host, hostnet.StatePath(dir, device), log)
	if first.KillSwitch.Device == "" {
		return b, nil
	}
	if err := b.net.Apply(first); err != nil {
		return nil, errors.Join(err, b.host.Close())
	}
	return b, nil
}

// open is the second part of openBase. After an error there is still something to
// close.
func (b *base) open(device string) (err error) {
	if err := checkSupport(b.log); err != nil {
		return err
	}
	if b.paths, err = mptcp.OpenPathManager(); err != nil {
		return err
	}
	b.device, err = tun.Create(device)
	return err
}

// close undoes all that was done to the host, but for what remains.
func (b *base) close() error {
	var errs []error
	if b.device != nil {
		if err := b.device.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if b.net != nil {
		errs = append(errs, b.net.Apply(b.remains))
	}
	if b.host != nil {
		errs = append(errs, b.host.Close())
	}
	if b.paths != nil {
		errs = append(errs, b.paths.Close())
	}
	return errors.Join(errs...)
}

// checkSupport logs what the kernel lacks and fails when it cannot do at all.
func checkSupport(log *slog.Logger) error {
	for _, f := range mptcp.Check() {
		switch {
		case f.Severity == mptcp.Fatal:
			return &hintedError{errors.New(f.Detail), f.Hint}
		case f.Name == "blackhole-timeout", f.Name == "bbr":
			// The first the client sets itself and the server does not
			// need; the second no carrier of packets uses.
		case f.Severity == mptcp.Degraded:
			log.Warn("the kernel does not offer everything", "missing", f.Detail, "hint", f.Hint)
		}
	}
	return nil
}

// applyEvery is how often the host's network is compared with what it should
// be: another program may have flushed the firewall, or another braid on this
// host may have stopped and taken a shared setting back.
const applyEvery = time.Minute

// every calls f until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f()
		case <-ctx.Done():
			return nil
		}
	}
}

// runAll runs all parts until ctx ends or one of them fails.
func runAll(ctx context.Context, parts ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error { return p(ctx) })
	}
	return g.Wait()
}
