package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"braid/control"
)

// quickSpeedtest is a measurement's length with --quick.
const quickSpeedtest = 3 * time.Second

func newSpeedtestCommand() *cobra.Command {
	var socket string
	var asJSON, quick bool
	var length time.Duration
	var ask control.SpeedtestRequest
	c := &cobra.Command{
		Use:   "speedtest",
		Short: "Measure each uplink by itself and the bond, down and up, idle and loaded",
		Long: "speedtest measures between the running client and its server, through nobody else: each uplink by\n" +
			"itself, then all that are in use together, in both directions, and how long a packet takes beside that.\n" +
			"It fills the uplinks. Other traffic goes on meanwhile and shares them.\n" +
			"Uplinks on which bytes cost (cap or metered in client.toml) are left alone without --metered, and those\n" +
			"that stand by without --metered or --uplink. Without --control it asks the client that has its control\n" +
			"socket in " + runDir + ".",
		Example: "  braid speedtest\n  braid speedtest --quick\n  braid speedtest --uplink wwan0 --metered\n  braid speedtest --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				if cmd.Flags().Changed("time") {
					return usage(cmd, errors.New("--quick and --time say both how long a measurement takes"))
				}
				length = quickSpeedtest
			}
			if length < control.MinSpeedtest || length > control.MaxSpeedtest {
				return usage(cmd, fmt.Errorf("--time %v: choose from %v to %v", length, control.MinSpeedtest, control.MaxSpeedtest))
			}
			ask.Seconds = length.Seconds()
			return runSpeedtest(cmd, controlSockets(socket), ask, asJSON)
		},
	}
	c.Flags().StringArrayVar(&ask.Uplinks, "uplink", nil, "only this uplink, also when it stands by; may be given again")
	c.Flags().BoolVar(&ask.Metered, "metered", false, "use uplinks on which each byte costs, too")
	c.Flags().DurationVar(&length, "time", control.DefaultSpeedtest, "how long each measurement takes")
	c.Flags().BoolVar(&quick, "quick", false, fmt.Sprintf("the same as --time %v: less exact on far uplinks", quickSpeedtest))
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line")
	c.Flags().StringVar(&socket, "control", "", "the client's control socket")
	_ = c.RegisterFlagCompletionFunc("uplink", completeSpeedUplink(&socket)) // the flag is there
	return c
}

// runSpeedtest runs a test of the one client that is meant and prints what it found.
func runSpeedtest(cmd *cobra.Command, sockets []string, ask control.SpeedtestRequest, asJSON bool) error {
	clients, err := runningClients(cmd.Context(), sockets)
	if err != nil {
		return err
	}
	if len(clients) > 1 {
		var choices []string
		for _, c := range clients {
			choices = append(choices, c.socket)
		}
		return &usageError{fmt.Errorf("%d clients are running here", len(clients)), "choose one with --control: " + strings.Join(choices, ", ")}
	}
	watch := &speedProgress{to: cmd.ErrOrStderr()}
	if terminal, ok := watch.to.(*os.File); ok && !asJSON {
		watch.lines = isTerminal(terminal)
	}
	res, err := control.RunSpeedtest(cmd.Context(), clients[0].socket, ask, watch.show)
	watch.clear()
	if refusal, ok := errors.AsType[*control.Refusal](err); ok && refusal.Status == http.StatusNotFound && len(ask.Uplinks) > 0 {
		return &usageError{err, refusal.Hint()}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted: the speed test was ended")
	case err != nil:
		return err
	case !asJSON:
		return control.WriteSpeedtest(cmd.OutOrStdout(), res)
	}
	b, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	_, err = cmd.OutOrStdout().Write(append(b, '\n'))
	return err
}

// speedProgress shows on a terminal how far a test is, in one line that changes.
type speedProgress struct {
	to    io.Writer
	lines bool
	begun bool
	shown int // columns of the line
}

func (p *speedProgress) show(s control.SpeedtestStep) {
	if !p.lines {
		return
	}
	if !p.begun && s.Number > 0 { // only now it says how long each takes
		p.clear()
		p.begun = true
		each := time.Duration(s.Seconds * float64(time.Second))
		fmt.Fprintf(p.to, "%d measurements take about %v; what else runs goes on, and shares the uplinks\n", s.Of, control.SpeedtestTakes(s.Of, each))
	}
	text := s.Text()
	n := utf8.RuneCountInString(text)
	fmt.Fprintf(p.to, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-n)))
	p.shown = n
}

// clear takes the line away.
func (p *speedProgress) clear() {
	if p.shown > 0 {
		fmt.Fprintf(p.to, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}

// completeSpeedUplink returns the uplinks of the running clients.
func completeSpeedUplink(socket *string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return completeUplink(cmd.Context(), controlSockets(*socket), nil), cobra.ShellCompDirectiveNoFileComp
	}
}
