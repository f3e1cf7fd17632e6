package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"braid/control"
)

// runDir is where daemons keep their control sockets and the state of the
// host's network by default.
const runDir = "/run/braid"

func newStatusCommand() *cobra.Command {
	var asJSON bool
	var socket string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the running braid does",
		Long: "status asks the running client or server. Without --control it asks every braid that has its\n" +
			"control socket in " + runDir + ". It also tells of a kill switch whose client does not run.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showStatus(cmd, socket, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line for each daemon")
	c.Flags().StringVar(&socket, "control", "", "the daemon's control socket")
	return c
}

func showStatus(cmd *cobra.Command, socket string, asJSON bool) error {
	// For programs the output is JSON of daemons and nothing else.
	orphans := cmd.OutOrStdout()
	if asJSON {
		orphans = cmd.ErrOrStderr()
	}
	dir := runDir
	if socket != "" {
		dir = filepath.Dir(socket)
	}
	defer writeOrphans(orphans, dir)
	var errs []error
	shown := 0
	for _, s := range controlSockets(socket) {
		b, err := control.Fetch(cmd.Context(), s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := printStatus(cmd, b, asJSON, shown > 0); err != nil {
			return err
		}
		shown++
	}
	if shown > 0 && socket == "" {
		return nil // a socket that a dead daemon left is no news
	}
	return errors.Join(errs...)
}

// controlSockets are the sockets of the daemons to ask: the one that is named,
// or all that have theirs in runDir.
func controlSockets(socket string) []string {
	if socket != "" {
		return []string{socket}
	}
	sockets := socketsIn(runDir)
	if len(sockets) == 0 {
		return []string{runDir + "/client.sock"} // for its error message
	}
	return sockets
}

// socketsIn are the control sockets in a folder, one of each daemon: its socket
// for readers is found by way of the other one.
func socketsIn(dir string) []string {
	found, _ := filepath.Glob(dir + "/*.sock") // the pattern is good
	ofReaders := map[string]bool{}
	for _, s := range found {
		ofReaders[control.ReadSocket(s)] = true
	}
	return slices.DeleteFunc(found, func(s string) bool { return ofReaders[s] })
}

func printStatus(cmd *cobra.Command, b json.RawMessage, asJSON, another bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		_, err := out.Write(b)
		return err
	}
	v, err := control.Decode(b)
	if err != nil {
		return err
	}
	if another {
		if _, err := out.Write([]byte("\n")); err != nil {
			return err
		}
	}
	return control.WriteText(out, v)
}
