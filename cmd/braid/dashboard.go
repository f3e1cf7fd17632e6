package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/control/dashboard"
)

// showDashboard shows a status to browsers, if the configuration says where.
func showDashboard(c config.Dashboard, status func() any, log *slog.Logger) func(context.Context) error {
	if !c.Listen.IsValid() {
		return func(context.Context) error { return nil }
	}
	return dashboard.New(dashboard.Config{Listen: c.Listen, TokenFile: c.TokenFile, Status: status, Log: log}).Run
}

func newDashboardCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "dashboard",
		Short: "Print where the web dashboard is",
		Long: "dashboard prints the address of the web dashboard, with the token if it has one: open it in a\n" +
			"browser. It makes the file with the token if that is not there. Without -c it reads\n" +
			configPath("client") + " and " + configPath("server") + ", whichever are there.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := dashboards(file)
			if err != nil {
				return err
			}
			host, err := hostAddresses()
			if err != nil {
				return err
			}
			for _, d := range found {
				token := ""
				if d.TokenFile != "" {
					if token, err = dashboard.OpenToken(d.TokenFile); err != nil {
						return &configError{err}
					}
				}
				for _, url := range dashboardURLs(d.Listen, token, host) {
					fmt.Fprintln(cmd.OutOrStdout(), url)
				}
			}
			return nil
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return c
}

// dashboards returns what configurations say of dashboards: that in file, a
// client's or a server's, or those in their usual places for "".
func dashboards(file string) ([]config.Dashboard, error) {
	files := []string{file}
	if file == "" {
		files = []string{configPath("client"), configPath("server")}
	}
	var found []config.Dashboard
	for _, f := range files {
		d, err := dashboardOf(f)
		if errors.Is(err, fs.ErrNotExist) && file == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		if d.Listen.IsValid() {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, &configError{&hintedError{errors.New("the configuration has no dashboard"),
			"add the table [dashboard] with listen = \"127.0.0.1:8477\" to it, and restart braid"}}
	}
	return found, nil
}

// dashboardOf reads a configuration of either kind. The faults of one that is
// neither are those of the kind of which it has fewer.
func dashboardOf(file string) (config.Dashboard, error) {
	client, clientErr := config.LoadClient(file)
	if clientErr == nil {
		return client.Dashboard, nil
	}
	server, serverErr := config.LoadServer(file)
	if serverErr == nil {
		return server.Dashboard, nil
	}
	if faults(serverErr) < faults(clientErr) {
		return config.Dashboard{}, serverErr
	}
	return config.Dashboard{}, clientErr
}

func faults(err error) int {
	if e, ok := errors.AsType[*config.Errors](err); ok {
		return len(e.List)
	}
	return 0
}

// dashboardURLs is what to open in a browser. One that listens everywhere is at
// each of the host's addresses that browsers elsewhere may reach.
func dashboardURLs(listen netip.AddrPort, token string, host []netip.Addr) []string {
	everywhere := listen.Addr().IsUnspecified()
	if !everywhere {
		host = []netip.Addr{listen.Addr()}
	}
	var urls []string
	for _, a := range host {
		if everywhere && (!a.IsGlobalUnicast() || listen.Addr().Is4() && !a.Is4()) {
			continue
		}
		at := fmt.Sprintf("http://%v/", netip.AddrPortFrom(a, listen.Port()))
		if token != "" {
			at += "#token=" + url.QueryEscape(token)
		}
		urls = append(urls, at)
	}
	return urls
}
