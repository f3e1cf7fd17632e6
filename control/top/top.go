// Package top is the live terminal view of a running braid: it follows the
// status that the daemon tells on its control socket, and draws it.
//
// Model is pure: it gets messages with the time in them, keeps the history of
// rates, which the daemon measures, and draws. Run connects it with a terminal
// and with the daemon:
//
//	control.Follow ─ follow (a goroutine) ─ message ─ Model.Update ─ Model.View ─ terminal
//	                                            keys ─┘        └─ control.SetRole
package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"

	"braid/control"
)

// DefaultInterval is how often the view asks for the status when nobody says.
const DefaultInterval = 250 * time.Millisecond

// retryAfter is how long the view waits before it looks again for a daemon that
// has ended.
const retryAfter = 500 * time.Millisecond

// Options say what to show, and where.
type Options struct {
	Socket   string        // the daemon's control socket
	Interval time.Duration // between two statuses, from control.MinInterval to control.MaxInterval
	In       *os.File      // keys; a terminal
	Out      *os.File      // the picture; a terminal
	Environ  []string      // as of os.Environ: TERM, NO_COLOR, and the locale count
}

// ErrNoTerminal says that there is none to draw on.
var ErrNoTerminal = errors.New("the live view needs a terminal")

// Run shows the daemon's status until the user quits or ctx ends, and puts the
// terminal back as it was, whatever ends it. A daemon that does not answer is waited
// for.
func Run(ctx context.Context, o Options) error {
	if o.In == nil || o.Out == nil || !term.IsTerminal(o.In.Fd()) || !term.IsTerminal(o.Out.Fd()) {
		return ErrNoTerminal
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return run(ctx, o, NewModel(PlainText(o.Environ), func(uplink, role string) error {
		return control.SetRole(ctx, o.Socket, uplink, role)
	}))
}

// run is Run with a model.
func run(ctx context.Context, o Options, m tea.Model) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Signals are the caller's, who ends ctx.
	p := tea.NewProgram(m, tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Environ), tea.WithoutSignalHandler())
	stop := context.AfterFunc(ctx, p.Quit)
	defer stop()
	var follower sync.WaitGroup
	follower.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				p.Kill() // or the message would be lost on the terminal's other screen
				panic(r)
			}
		}()
		follow(ctx, o.Socket, o.Interval, p.Send)
	})
	_, err := p.Run()
	cancel()
	follower.Wait()
	if err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}

// follow tells send the status again and again, and when there is none, until
// ctx ends.
func follow(ctx context.Context, socket string, interval time.Duration, send func(tea.Msg)) {
	for {
		err := control.Follow(ctx, socket, interval, func(b json.RawMessage) error {
			status, err := control.Decode(b)
			if err != nil {
				return err
			}
			send(Told{time.Now(), status})
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		send(Lost{time.Now(), err})
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}
