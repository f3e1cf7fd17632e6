package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/crypto"
)

// upFlags are those of braid up.
type upFlags struct {
	daemonFlags
	installOnly, service, force bool
	wishes                      config.Wishes
}

func newUpCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up [TOKEN|FILE|-]",
		Short: "Make this host a client with a token, and run it",
		Long: "up writes the client's configuration and key from a token that braid invite has printed, and runs the\n" +
			"client. The token is given itself, in a file, or on standard input (-); only the first of these is seen in the\n" +
			"list of processes. Once it is written, the same token, or none, runs the client.",
		Example: "  braid up braid1:…\n  braid up token.txt --service\n  ssh server braid invite laptop | braid up -",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return up(cmd, f, args) },
	}
	f.add(c, "client")
	c.Flags().BoolVar(&f.installOnly, "install-only", false, "write the configuration and run nothing")
	c.Flags().BoolVar(&f.service, "service", false, "enable and start "+unitName("client")+" instead of running the client here")
	c.Flags().BoolVar(&f.wishes.KillSwitch, "kill-switch", false, "write that nothing leaves beside the tunnel (tunnel.kill_switch)")
	c.Flags().BoolVar(&f.wishes.Forwarding, "router", false, "write that this host is a router, whose LAN uses the tunnel (tunnel.forwarding)")
	c.Flags().BoolVar(&f.force, "force", false, "replace a configuration of another token; it is kept with .old behind its name")
	return c
}

func up(cmd *cobra.Command, f upFlags, args []string) error {
	log, err := f.logger(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if f.service && f.installOnly {
		return usage(cmd, errors.New("--service runs the client, and --install-only runs nothing"))
	}
	if err := serviceFits(f.service, "client", f.config); err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	written := false
	if len(args) > 0 {
		i, err := readToken(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		if written, err = install(f.config, i, f.wishes, f.force); err != nil {
			return err
		}
		if written {
			fmt.Fprintf(notes, "written: %s, for the client %q\n", f.config, i.Name)
		}
	}
	file, err := config.OpenClient(f.config)
	if err != nil {
		return withHint(err, fs.ErrNotExist, "make a token on the server with: braid invite NAME, and give it here: braid up TOKEN")
	}
	if t := file.Config.Tunnel; f.wishes.KillSwitch && !t.KillSwitch || f.wishes.Forwarding && !t.Forwarding {
		return &usageError{fmt.Errorf("%s was there before, and is not changed", f.config),
			"write kill_switch = true or forwarding = true under [tunnel] there"}
	}
	switch {
	case f.installOnly:
		fmt.Fprintf(cmd.OutOrStdout(), "next: %s\n", howToStart("client", f.config))
		return nil
	case f.service:
		return startService(cmd.Context(), cmd, "client", written)
	case hasUnit("client") && f.config == configPath("client"):
		fmt.Fprintf(notes, "hint: to have it run by itself, now and after a restart of this host: braid up --service\n")
	}
	return runClient(cmd.Context(), file, log)
}

// tokenFileBytes is more than a token and all white space around it has.
const tokenFileBytes = 64 << 10

// readToken reads the token that arg is, or that is in the file of that name or on
// standard input.
func readToken(in io.Reader, arg string) (config.Invite, error) {
	text := []byte(arg)
	switch {
	case config.IsToken(arg):
	case arg == "-":
		var err error
		if text, err = io.ReadAll(io.LimitReader(in, tokenFileBytes)); err != nil {
			return config.Invite{}, fmt.Errorf("read a token: %w", err)
		}
	default:
		f, err := os.Open(arg)
		if err != nil {
			return config.Invite{}, &usageError{fmt.Errorf("neither a token nor a file with one: %w", err), "a token begins with braid1: ; make one on the server with: braid invite NAME"}
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, tokenFileBytes)); err != nil {
			return config.Invite{}, fmt.Errorf("read a token: %w", err)
		}
	}
	i, err := config.ParseToken(string(text))
	if err != nil {
		return i, &usageError{err, crypto.Hint(err)}
	}
	return i, nil
}

// install writes the configuration and the key of an invite, unless they are there
// already.
func install(path string, i config.Invite, w config.Wishes, force bool) (written bool, err error) {
	keyFile := filepath.Join(filepath.Dir(path), "client.key")
	same, err := installed(path, i)
	if err != nil && !force {
		return false, err
	}
	if same {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("write configuration: %w", err)
	}
	key, err := crypto.LoadKeyFile(keyFile)
	if err != nil || !key.Equal(i.Key) {
		if !errors.Is(err, fs.ErrNotExist) {
			if !force {
				return false, &usageError{fmt.Errorf("there is another key in %s", keyFile), "move it away, or replace it with --force"}
			}
			if err := setAside(keyFile); err != nil {
				return false, err
			}
		}
		if err := crypto.WriteKeyFile(keyFile, i.Key); err != nil {
			return false, err
		}
	}
	// Last, so that a configuration always has its key.
	return true, writeNew(path, i.File(filepath.Base(keyFile), w))
}

// installed reports whether the configuration at path is of the invite. It is an
// error if it is of another one, or of none.
func installed(path string, i config.Invite) (bool, error) {
	const mend = "replace it with --force, or name another file with -c FILE"
	cfg, err := config.LoadClient(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &usageError{fmt.Errorf("%s is there, and faulty: %w", path, firstFault(err)), mend}
	}
	key, err := crypto.LoadKeyFile(cfg.PrivateKeyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, &usageError{err, mend}
	}
	if cfg.ServerPublicKey != i.ServerKey || !key.Equal(i.Key) {
		return false, &usageError{fmt.Errorf("%s is of another token", path), mend}
	}
	return true, nil
}

// serviceFits refuses to let systemd run what it does not know.
func serviceFits(wanted bool, role, path string) error {
	switch {
	case wanted && path != configPath(role):
		return &usageError{fmt.Errorf("%s is for %s alone", unitName(role), configPath(role)), "leave out --service or -c"}
	case wanted && !hasUnit(role):
		return &usageError{fmt.Errorf("there is no %s on this host", unitName(role)), "leave out --service, or install braid's package"}
	}
	return nil
}

// startService enables a daemon's unit and starts it; anew when the configuration has
// just been written.
func startService(ctx context.Context, cmd *cobra.Command, role string, written bool) error {
	start := "start"
	if written {
		start = "restart"
	}
	for _, verb := range []string{"enable", start} {
		var complaint bytes.Buffer
		c := exec.CommandContext(ctx, "systemctl", verb, unitName(role))
		c.Stderr = &complaint
		if err := c.Run(); err != nil {
			return fmt.Errorf("systemctl %s %s: %w: %s", verb, unitName(role), err, bytes.TrimSpace(complaint.Bytes()))
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s runs, and will after a restart of this host; look with: braid status\n", unitName(role))
	return nil
}
