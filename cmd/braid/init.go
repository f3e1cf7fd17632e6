package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/crypto"
)

// initFlags are what braid server init may be told, beside what it finds out.
type initFlags struct {
	config  string
	listen  []string
	address []string
	dns     []string
	service bool
	force   bool
}

func newServerInitCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a server's configuration and key",
		Long: "init writes a server's configuration, ready to run, and its key file beside it. It finds out by itself\n" +
			"where clients reach this host, and a range for the tunnel that no route of this host is in the way of.",
		Example: "  braid server init\n  braid server init --dns 9.9.9.9,149.112.112.112 --service\n  braid server init --address vpn.example.net --listen :8443",
		RunE:    func(cmd *cobra.Command, _ []string) error { return initServer(cmd, f) },
	}
	c.Flags().StringVarP(&f.config, "config", "c", configPath("server"), "the file to write")
	c.Flags().StringSliceVar(&f.listen, "listen", []string{":443"}, "where to listen, as in server.toml")
	c.Flags().StringSliceVar(&f.address, "address", nil, "where clients find this server: a host name or an address, with or without a port (default: this host's public addresses)")
	c.Flags().StringSliceVar(&f.dns, "dns", nil, "DNS servers that clients with a full tunnel ask through it, such as 9.9.9.9 (default: they ask whom they asked before)")
	c.Flags().BoolVar(&f.service, "service", false, "enable and start "+unitName("server"))
	c.Flags().BoolVar(&f.force, "force", false, "replace a configuration that is there; it is kept with .old behind its name")
	return c
}

// serverKeyFile is the name of the key file, beside the configuration.
const serverKeyFile = "server.key"

func initServer(cmd *cobra.Command, f initFlags) error {
	if _, err := os.Lstat(f.config); err == nil && !f.force {
		return &usageError{fmt.Errorf("%s exists already", f.config), "edit it, or replace it with --force"}
	}
	if err := serviceFits(f.service, "server", f.config); err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	routes, err := hostRoutes(tunnelName)
	if err != nil {
		return err
	}
	v4, v6 := freeRanges(routes)
	var ranges []string
	for _, p := range []fmt.Stringer{v4, v6} {
		ranges = append(ranges, p.String())
	}
	if !v4.IsValid() || !v6.IsValid() {
		return &hintedError{errors.New("this host has routes to all ranges that a tunnel could have"), "write tunnel.addresses by hand"}
	}
	// What was given is checked as the file would be.
	if _, err := config.ParseServer(serverFile(f.listen, f.address, f.dns, ranges), ""); err != nil {
		return &usageError{fmt.Errorf("--listen, --address or --dns is wrong: %w", firstFault(err)), crypto.Hint(firstFault(err))}
	}
	address := f.address
	if len(address) == 0 {
		if address, err = foundAddresses(cmd, f.listen, ranges); err != nil {
			return err
		}
	}

	dir := filepath.Dir(f.config)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	key := filepath.Join(dir, serverKeyFile)
	made, err := ensureKey(key, crypto.GenerateKey())
	if err != nil {
		return err
	}
	if err := writeNew(f.config, serverFile(f.listen, address, f.dns, ranges)); err != nil {
		return err
	}
	fmt.Fprintf(notes, "written: %s\n", f.config)
	if made {
		fmt.Fprintf(notes, "written: %s\n", key)
	} else {
		fmt.Fprintf(notes, "kept: %s\n", key)
	}
	if f.service {
		if err := startService(cmd.Context(), cmd, "server", true); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "next: braid invite NAME")
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "next: %s, then: braid invite NAME\n", howToStart("server", f.config))
	return nil
}

// tunnelName is the tunnel's interface where nobody names another.
const tunnelName = "braid0"

// firstFault is the first fault of a configuration.
func firstFault(err error) error {
	if all, ok := errors.AsType[*config.Errors](err); ok {
		e := *all.List[0]
		e.Line = 0 // of a file that is not there
		return &e
	}
	return err
}

// foundAddresses are where clients find this host, and warns when that cannot be
// right.
func foundAddresses(cmd *cobra.Command, listen, ranges []string) ([]string, error) {
	cfg, err := config.ParseServer(serverFile(listen, nil, nil, ranges), "")
	if err != nil {
		return nil, err
	}
	found, err := inviteServers(cmd, cfg)
	var list []string
	for _, a := range found {
		text := a.String()
		if a.Port == cfg.Listen[0].Port() { // what is left out follows listen
			text = a.Host
		}
		list = append(list, text)
	}
	if none, ok := errors.AsType[*noAddressError](err); ok {
		warn(cmd, none.Error(), none.Hint())
		return nil, nil
	}
	return list, err
}

// noAddressError says that nobody knows where clients find the server.
type noAddressError struct{}

func (*noAddressError) Error() string {
	return "this host has no address at which clients could find it"
}
func (*noAddressError) Hint() string {
	return `write it into server.toml, such as address = ["vpn.example.net"]`
}

// inviteServers is where clients find a server: what its configuration says, or
// what the host has.
func inviteServers(cmd *cobra.Command, cfg *config.Server) ([]config.HostPort, error) {
	list, public := cfg.Address, true
	if len(list) == 0 {
		uplinks, err := hostUplinks(cmd.Context(), cfg.Tunnel.Name)
		if err != nil {
			return nil, err
		}
		list, public = reachableAt(cfg.Listen, uplinks)
	}
	if len(list) == 0 {
		return nil, &noAddressError{}
	}
	if !public {
		warn(cmd, fmt.Sprintf("this host has private addresses only (%s): clients elsewhere do not reach them", list[0].Host),
			fmt.Sprintf("let the router forward TCP port %d to this host, and write the router's public name or address into server.toml: address = [\"vpn.example.net\"]",
				cfg.Listen[0].Port()))
	}
	return list, nil
}

// warn tells of something that is no error.
func warn(cmd *cobra.Command, problem, mend string) {
	fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\nhint: %s\n", problem, mend)
}

// serverFile is a server.toml.
func serverFile(listen, address, dns, ranges []string) []byte {
	where := "address = " + tomlList(address) + "    # where clients find this server; invites carry it"
	if len(address) == 0 {
		where = `# address = ["vpn.example.net"]    # where clients find this server; invites carry it`
	}
	names := "dns = " + tomlList(dns) + "    # whom clients with a full tunnel ask for names, through it"
	if len(dns) == 0 {
		names = `# dns = ["9.9.9.9"]    # whom clients with a full tunnel ask for names, through it`
	}
	return fmt.Appendf(nil, `# A braid server, written by: braid server init
# All keys are in docs/configuration.md. After a change: braid reload

listen = %s    # TCP; without an address every one of this host
%s
private_key_file = %q    # beside this file

[tunnel]
addresses = %s    # the server's own; clients get others of these ranges
%s

# Clients follow. One more: braid invite NAME. One less: braid revoke NAME
`, tomlList(listen), where, serverKeyFile, tomlList(ranges), names)
}

// tomlList is a list of strings as TOML has it.
func tomlList(list []string) string {
	var quoted []string
	for _, s := range list {
		quoted = append(quoted, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)+`"`)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// ensureKey writes a key file, or leaves the one that is there, if that is good.
func ensureKey(path string, key crypto.PrivateKey) (made bool, err error) {
	err = crypto.WriteKeyFile(path, key)
	if errors.Is(err, fs.ErrExist) {
		_, err = loadKey(path)
		return false, err
	}
	return err == nil, err
}

// writeNew writes a file for its owner alone. One that is there is kept, with .old
// behind its name.
func writeNew(path string, content []byte) error {
	if err := setAside(path); err != nil {
		return err
	}
	if err := replaceFile(path, content); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// setAside renames a file, if there is one, to end in .old.
func setAside(path string) error {
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old file: %w", err)
	}
	return nil
}

// unitFolders are where systemd looks for units, those of packages last.
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitName is a daemon's systemd unit.
func unitName(role string) string { return "braid-" + role + ".service" }

// hasUnit reports whether systemd knows the daemon.
func hasUnit(role string) bool {
	return slices.ContainsFunc(unitFolders, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, unitName(role)))
		return err == nil
	})
}

// howToStart is the command line that starts a daemon with a configuration.
func howToStart(role, path string) string {
	switch {
	case path != configPath(role):
		return "braid " + role + " -c " + path
	case hasUnit(role):
		return "systemctl enable --now " + unitName(role)
	}
	return "braid " + role
}
