package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"braid/config"
	"braid/control"
)

// serviceManager is who started this daemon, if it wants to hear how the daemon
// is: systemd, or another that speaks sd_notify(3). Where there is none, nothing
// is said.
type serviceManager struct {
	log      *slog.Logger
	watchdog time.Duration // the longest silence that it takes for life; 0: any
}

func newServiceManager(log *slog.Logger) *serviceManager {
	watchdog, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		log.Warn("the service manager's watchdog is not understood", "error", err)
	}
	return &serviceManager{log, watchdog}
}

// run tells the manager that the daemon is ready, then that it lives, each time
// that alive says so, and when ctx has ended that it stops. A failure to tell is
// no reason to stop.
func (m *serviceManager) run(ctx context.Context, alive func(context.Context) error) error {
	m.tell(daemon.SdNotifyReady)
	defer m.tell(daemon.SdNotifyStopping)
	if m.watchdog == 0 {
		<-ctx.Done()
		return nil
	}
	// Asked and answered within two thirds of what the manager allows.
	return every(ctx, m.watchdog/3, func() {
		asked, end := context.WithTimeout(ctx, m.watchdog/3)
		defer end()
		switch err := alive(asked); {
		case err == nil:
			m.tell(daemon.SdNotifyWatchdog)
		case ctx.Err() == nil:
			m.log.Error("the daemon hangs: the service manager is to start it again", "error", err)
		}
	})
}

// reloading tells the manager that the configuration is read again; what it
// returns tells that this is done.
func (m *serviceManager) reloading() (done func()) {
	m.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func() { m.tell(daemon.SdNotifyReady) }
}

func (m *serviceManager) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}

// serveStatus answers on the control socket at path, and on that for readers, and tells the service
// manager that the daemon is ready and lives: alive asks its loops, and a status
// needs its locks.
func serveStatus(path string, allowed config.Access, status func() any, change control.Changes, alive func(context.Context) error, manager *serviceManager) (func(context.Context) error, error) {
	who, key, err := lookupAccess(allowed)
	if err != nil { // it was there when the configuration was read
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	serve, err := serveControl(path, who, status, change)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return runAll(ctx, serve, func(ctx context.Context) error {
			return manager.run(ctx, func(ctx context.Context) error {
				if err := alive(ctx); err != nil {
					return err
				}
				status()
				return nil
			})
		})
	}, nil
}
