package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/control"
)

func newRevokeCommand() *cobra.Command {
	var f enrolFlags
	c := &cobra.Command{
		Use:   "revoke NAME",
		Short: "End a client for good",
		Long: "revoke ends a client at once: its connections are closed, its key is refused from now on, and its\n" +
			"[[client]] is removed from the server's configuration, with its name where others have it in their reach.",
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return revoke(cmd.Context(), cmd, f, args[0]) },
		ValidArgsFunction: f.complete,
	}
	f.add(c)
	return c
}

// complete completes the names of clients.
func (f *enrolFlags) complete(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	cfg, err := config.LoadServer(f.config)
	if err == nil && len(args) == 0 {
		for _, c := range cfg.Clients {
			names = append(names, c.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newClientsCommand() *cobra.Command {
	var f enrolFlags
	c := &cobra.Command{
		Use:   "clients",
		Short: "List this server's clients",
		Long: "clients lists the clients of the server's configuration, one line each: name, addresses, networks behind\n" +
			"it, and whether it is connected. braid status tells much more of those.",
		RunE: func(cmd *cobra.Command, _ []string) error { return listClients(cmd, f) },
	}
	f.add(c)
	return c
}

func listClients(cmd *cobra.Command, f enrolFlags) error {
	file, err := config.OpenServer(f.config)
	if err != nil {
		return err
	}
	states := map[string]string{} // by public key
	b, err := control.Fetch(cmd.Context(), f.controlOf(file))
	switch {
	case err == nil:
		v, err := control.Decode(b)
		if err != nil {
			return err
		}
		s, ok := v.(*control.Server)
		if !ok {
			return errors.New("no server is behind this socket, but a client")
		}
		for _, c := range s.Clients {
			states[c.PublicKey] = c.State
		}
	case f.socket != "" || !nobodyThere(err):
		return err
	default:
		fmt.Fprintln(cmd.ErrOrStderr(), "no server runs here")
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, c := range file.Config.Clients {
		var addresses, routes []string
		for _, a := range c.Addresses {
			addresses = append(addresses, a.String())
		}
		for _, r := range c.Routes {
			routes = append(routes, r.String())
		}
		state := states[c.PublicKey.String()]
		if state == "" && len(states) > 0 {
			state = "unknown to the server that runs: braid reload"
		}
		line := strings.Join([]string{c.Name, strings.Join(addresses, " "), strings.Join(routes, " "), state}, "\t")
		fmt.Fprintln(t, strings.TrimRight(line, "\t"))
	}
	return t.Flush()
}
