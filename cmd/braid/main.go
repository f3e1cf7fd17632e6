// Command braid is a multipath bonding VPN: client, server and the tools
// around them. This package wires the others together and is the only one that
// ends the process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/control"
	"braid/crypto"
)

// Exit codes.
const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	// A second signal ends the process at once, if stopping takes too long.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitGood
	}
	var quiet *quietError
	if errors.As(err, &quiet) {
		return exitFailed
	}
	printError(stderr, err)
	var usage *usageError
	var file *config.FileError
	var faults *config.Errors
	var beside *configError
	if errors.As(err, &usage) || errors.As(err, &file) || errors.As(err, &faults) || errors.As(err, &beside) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that makes no sense.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// printError prints an error and its hint; of a configuration, every fault.
func printError(w io.Writer, err error) {
	var all *config.Errors
	if errors.As(err, &all) {
		for _, e := range all.List {
			printOne(w, e)
		}
		return
	}
	printOne(w, err)
	var refusal *control.Refusal // a daemon's, of its configuration
	if errors.As(err, &refusal) {
		for _, e := range refusal.More {
			printOne(w, e)
		}
	}
}

func printOne(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %v\n", err)
	if hint := crypto.Hint(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// extraCommands make the commands that only some builds have.
var extraCommands []func() *cobra.Command

// newRoot makes the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "braid",
		Short:         "Multipath bonding VPN: every uplink at once, and none is missed when it dies",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("unknown command %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServerCommand(), newClientCommand(),
		newInviteCommand(), newUpCommand(), newRevokeCommand(), newClientsCommand(),
		newReloadCommand(), newUplinkCommand(), newKillSwitchCommand(), newCleanupCommand(),
		newStatusCommand(), newTopCommand(), newDashboardCommand(), newDoctorCommand(), newSpeedtestCommand(),
		newKeygenCommand(), newPubkeyCommand(), newDemoCommand(), newVersionCommand(),
	)
	for _, c := range extraCommands {
		root.AddCommand(c())
	}
	root.SetFlagErrorFunc(usage)
	usageOfArgs(root)
	return root
}

// usageOfArgs makes wrong arguments of the commands below c errors of usage.
func usageOfArgs(c *cobra.Command) {
	for _, c := range c.Commands() {
		limit := c.Args
		if limit == nil {
			limit = cobra.NoArgs
		}
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := limit(cmd, args); err != nil {
				return usage(cmd, err)
			}
			return nil
		}
		usageOfArgs(c)
	}
}

// usage makes a usageError of what is wrong with cmd's command line.
func usage(cmd *cobra.Command, err error) error {
	return &usageError{err, fmt.Sprintf("see: %s --help", cmd.CommandPath())}
}
