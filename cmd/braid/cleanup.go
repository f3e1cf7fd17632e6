package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"braid/hostnet"
	"braid/mptcp"
)

func newCleanupCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Undo what a killed braid left in the host's network",
		Long: "cleanup removes the routes, rules, settings, nameservers and nftables tables of daemons that were\n" +
			"killed, and prints the commands that would have done the same. What belongs to a running braid stays.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := hostnet.OpenHost()
			if err != nil {
				return err
			}
			defer host.Close()
			report, err := hostnet.Cleanup(host, dir)
			for _, line := range report.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			for _, line := range report.Left {
				fmt.Fprintln(cmd.ErrOrStderr(), "left alone:", line)
			}
			return errors.Join(err, cleanupLimits(cmd, dir), cleanupManager(cmd, dir))
		},
	}
	c.Flags().StringVar(&dir, "dir", runDir, "where the daemons had their control sockets")
	return c
}

// cleanupLimits restores the MPTCP limits of daemons whose device is gone.
func cleanupLimits(cmd *cobra.Command, dir string) error {
	var errs []error
	for _, path := range limitsFiles(dir) {
		if _, err := net.InterfaceByName(limitsDevice(path)); err == nil {
			continue // it runs
		}
		pm, err := mptcp.OpenPathManager()
		if err == nil {
			err = errors.Join(restoreLimits(pm, path), pm.Close())
		}
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), "ip mptcp limits restored")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// cleanupManager restores the MPTCP path manager that killed clients may have left
// changed.
func cleanupManager(cmd *cobra.Command, dir string) error {
	var errs []error
	for _, path := range managerFiles(dir) {
		if _, err := net.InterfaceByName(managerDevice(path)); err == nil {
			continue // it runs
		}
		restored, err := restoreManager(path)
		if restored {
			fmt.Fprintln(cmd.OutOrStdout(), "MPTCP path manager restored")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
