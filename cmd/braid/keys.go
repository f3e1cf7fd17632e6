package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"braid/crypto"
)

func newKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen [FILE]",
		Short: "Make a private key; into FILE, and print its public key",
		Long: "keygen writes a new private key to FILE, readable by its owner alone, and prints the public key.\n" +
			"It never replaces a file. Without FILE it prints the private key.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := crypto.GenerateKey()
			if len(args) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), key.Reveal())
				return nil
			}
			if err := crypto.WriteKeyFile(args[0], key); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), key.Public())
			return nil
		},
	}
}

func newPubkeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pubkey [FILE]",
		Short: "Print the public key of the private key in FILE or on standard input",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readKey(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), key.Public())
			return nil
		},
	}
}

func readKey(in io.Reader, args []string) (crypto.PrivateKey, error) {
	if len(args) > 0 {
		return crypto.LoadKeyFile(args[0])
	}
	const longestLine = 1 << 10
	line, err := bufio.NewReader(io.LimitReader(in, longestLine)).ReadString('\n')
	if err != nil && err != io.EOF {
		return crypto.PrivateKey{}, fmt.Errorf("read private key from %s: %w", os.Stdin.Name(), err)
	}
	return crypto.ParsePrivateKey(strings.TrimSpace(line))
}
