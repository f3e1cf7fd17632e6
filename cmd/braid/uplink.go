package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"braid/control"
)

func newUplinkCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "uplink [NAME role ROLE]",
		Short: "List the running client's uplinks, or change the role of one",
		Long: "uplink lists the uplinks of the running client, one line each. With a name and a role it gives that\n" +
			"uplink the role: bond, overflow, backup or never, or default for that of the configuration.\n" +
			"The change holds at once and until the daemon restarts; what shall stay is written in client.toml.\n" +
			"Without --control it asks the braids that have their control socket in " + runDir + ".",
		Example: "  braid uplink\n  braid uplink wwan0 role backup\n  braid uplink wwan0 role default",
		Args:    uplinkArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listUplinks(cmd, controlSockets(socket))
			}
			return changeRole(cmd.Context(), controlSockets(socket), args[0], args[2])
		},
	}
	c.Flags().StringVar(&socket, "control", "", "the client's control socket")
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return completeUplink(cmd.Context(), controlSockets(socket), args), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// uplinkArgs takes none, or NAME role ROLE.
func uplinkArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case len(args) != 3 || args[1] != "role":
		return errors.New("want nothing, or: NAME role ROLE")
	case !slices.Contains(control.Roles(), args[2]):
		return fmt.Errorf("unknown role %q: choose one of %s", args[2], strings.Join(control.Roles(), ", "))
	}
	return nil
}

// runningClient is a client that answered on its socket.
type runningClient struct {
	socket string
	status *control.Client
}

func (c runningClient) has(uplink string) bool {
	return slices.ContainsFunc(c.status.Uplinks, func(u control.Uplink) bool { return u.Interface == uplink })
}

// runningClients asks the daemons behind the sockets. There is at least one
// client, or an error.
func runningClients(ctx context.Context, sockets []string) ([]runningClient, error) {
	var clients []runningClient
	var errs []error
	servers := 0
	for _, s := range sockets {
		b, err := control.Fetch(ctx, s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v, err := control.Decode(b)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if c, ok := v.(*control.Client); ok {
			clients = append(clients, runningClient{s, c})
		} else {
			servers++
		}
	}
	switch {
	case len(clients) > 0:
		return clients, nil // a socket that a dead daemon left is no news
	case servers > 0:
		return nil, &hintedError{errors.New("only a server is running here, and uplinks are a client's"), "run this on the client's host"}
	}
	return nil, errors.Join(errs...)
}

func listUplinks(cmd *cobra.Command, sockets []string) error {
	clients, err := runningClients(cmd.Context(), sockets)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for i, c := range clients {
		if len(clients) > 1 {
			blank := ""
			if i > 0 {
				blank = "\n"
			}
			fmt.Fprintf(out, "%s%s on %s:\n", blank, c.status.Session.Device, c.socket)
		}
		if err := control.WriteUplinks(out, c.status); err != nil {
			return err
		}
	}
	return nil
}

// changeRole asks the client that has the uplink to change its role.
func changeRole(ctx context.Context, sockets []string, uplink, role string) error {
	clients, err := runningClients(ctx, sockets)
	if err != nil {
		return err
	}
	if len(clients) > 1 {
		// Two clients share the uplinks of their host, and each has its own
		// roles for them. Only the user knows which is meant.
		having := slices.DeleteFunc(slices.Clone(clients), func(c runningClient) bool { return !c.has(uplink) })
		if len(having) != 1 {
			var choices []string
			for _, c := range clients {
				choices = append(choices, c.socket)
			}
			return &usageError{fmt.Errorf("%d clients are running here, and %d of them have the uplink %q", len(clients), len(having), uplink),
				"choose one with --control: " + strings.Join(choices, ", ")}
		}
		clients = having
	}
	err = control.SetRole(ctx, clients[0].socket, uplink, role)
	refusal, refused := errors.AsType[*control.Refusal](err)
	if refused && (refusal.Status == http.StatusNotFound || refusal.Status == http.StatusBadRequest) {
		return &usageError{err, refusal.Hint()}
	}
	return err
}

// completionPatience is how long a shell may wait for its completions.
const completionPatience = time.Second

// completeUplink returns what may follow args.
func completeUplink(ctx context.Context, sockets []string, args []string) []string {
	switch len(args) {
	case 0:
		ctx, cancel := context.WithTimeout(ctx, completionPatience)
		defer cancel()
		clients, err := runningClients(ctx, sockets)
		if err != nil {
			return nil // a shell has no place for it
		}
		var names []string
		for _, c := range clients {
			for _, u := range c.status.Uplinks {
				names = append(names, u.Interface)
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	case 1:
		return []string{"role"}
	case 2:
		return control.Roles()
	}
	return nil
}
