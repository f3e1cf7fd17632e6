package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"braid/lab/demo"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show bonding and failover in a network of namespaces on this machine",
		Long: "demo builds a client with three uplinks, a server and the networks between them out of namespaces,\n" +
			"runs a download and an ssh session through the tunnel, and cuts uplinks meanwhile. It needs root,\n" +
			"touches nothing of this machine's own network, takes about a minute and leaves nothing behind.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find braid's own program: %w", err)
			}
			return demo.Run(cmd.Context(), self, cmd.OutOrStdout())
		},
	}
}
