//go:build man

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The manual's pages are made when packages are built, by a braid that is built
// for it: the one in the packages does without what makes them.

func init() { extraCommands = append(extraCommands, newManCommand) }

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual's pages into DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// The date is SOURCE_DATE_EPOCH's.
			head := &doc.GenManHeader{Section: "1", Source: software(), Manual: "braid"}
			if err := doc.GenManTree(root, head, args[0]); err != nil {
				return fmt.Errorf("write manual's pages: %w", err)
			}
			return nil
		},
	}
}
