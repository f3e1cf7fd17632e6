package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"braid/control"
	"braid/control/top"
)

func newTopCommand() *cobra.Command {
	var socket string
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the running braid live, and change the roles of its uplinks",
		Long: "top shows a running client or server as it is now, and goes on: whether it works, which uplink is at\n" +
			"fault and why, what each uplink carries, and what it brings to use them together. When the daemon ends\n" +
			"it says so, and waits for the next one. Without --control it follows the braid that runs here.\n\n" +
			"Roles that are changed hold until the daemon restarts, as with braid uplink. Before the last uplink that\n" +
			"works is paused it asks.\n\n" +
			"Keys:\n\n" + indented(top.Keys) + "\n" +
			"It has no colours with NO_COLOR or TERM=vt100: all that they say stands there in words. Where the locale is\n" +
			"not UTF-8 it draws with ASCII. For scripts there is braid status.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < control.MinInterval || interval > control.MaxInterval {
				return usage(cmd, fmt.Errorf("interval is %v: choose from %v to %v", interval, control.MinInterval, control.MaxInterval))
			}
			return showTop(cmd, socket, interval)
		},
	}
	c.Flags().StringVar(&socket, "control", "", "the daemon's control socket")
	c.Flags().DurationVar(&interval, "interval", top.DefaultInterval, "time between two looks")
	return c
}

// indented is lines that a manual's page keeps as they are.
func indented(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines + "\n") {
		b.WriteString("    " + line)
	}
	return b.String()
}

func showTop(cmd *cobra.Command, socket string, interval time.Duration) error {
	in, _ := cmd.InOrStdin().(*os.File)
	out, _ := cmd.OutOrStdout().(*os.File)
	socket, err := liveSocket(cmd.Context(), controlSockets(socket))
	if err != nil {
		return err
	}
	err = top.Run(cmd.Context(), top.Options{Socket: socket, Interval: interval, In: in, Out: out, Environ: os.Environ()})
	if errors.Is(err, top.ErrNoTerminal) {
		return &hintedError{err, "for scripts and files: braid status, or braid status --json"}
	}
	return err
}

// liveSocket is that of the sockets behind which a daemon answers.
func liveSocket(ctx context.Context, sockets []string) (string, error) {
	var live []string
	var errs []error
	for _, s := range sockets {
		if _, err := control.Fetch(ctx, s); err != nil {
			errs = append(errs, err)
			continue
		}
		live = append(live, s)
	}
	switch len(live) {
	case 0:
		return "", errors.Join(errs...)
	case 1:
		return live[0], nil
	}
	return "", &usageError{fmt.Errorf("%d braids are running here", len(live)), "choose one with --control: " + strings.Join(live, ", ")}
}
