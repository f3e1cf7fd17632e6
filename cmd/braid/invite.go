package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/boombuler/barcode/qr"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"braid/config"
	"braid/control"
	"braid/crypto"
)

// enrolFlags say which server is meant.
type enrolFlags struct {
	config string
	socket string
}

func (f *enrolFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", configPath("server"), "the server's configuration")
	c.Flags().StringVar(&f.socket, "control", "", "the server's control socket (default: as the configuration says)")
}

func newInviteCommand() *cobra.Command {
	var f enrolFlags
	var routes []string
	var code bool
	c := &cobra.Command{
		Use:   "invite NAME",
		Short: "Add a client to this server, and print the token with which it begins",
		Long: "invite adds a client to the server's configuration, and to the server that runs, without a restart.\n" +
			"It prints a token, in a terminal as a QR code as well: on the client's host braid up TOKEN is all it takes.\n" +
			"Whoever has the token is that client. The server keeps its public key alone, so a token is shown once.",
		Example: "  braid invite laptop\n  braid invite home --route 192.168.10.0/24\n  braid invite phone > token",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return invite(cmd, f, args[0], routes, code) },
	}
	f.add(c)
	c.Flags().StringSliceVar(&routes, "route", nil, "a network behind the client, that it shall be reached by; may be repeated")
	c.Flags().BoolVar(&code, "qr", false, "print the QR code even where the output is no terminal")
	return c
}

func invite(cmd *cobra.Command, f enrolFlags, name string, routes []string, code bool) error {
	file, err := config.OpenServer(f.config)
	if err != nil {
		return withHint(err, fs.ErrNotExist, "make a server with: braid server init")
	}
	server, err := loadKey(file.Config.PrivateKeyFile)
	if err != nil {
		return err
	}
	where, err := inviteServers(cmd, file.Config)
	if err != nil {
		return err
	}
	key := crypto.GenerateKey()
	i := config.Invite{Name: name, Servers: where, ServerKey: server.Public(), Key: key, TCP: file.Config.Tunnel.TCP}
	token, err := i.Token()
	if err != nil {
		return &usageError{err, "see: braid invite --help"}
	}
	addresses, err := addClient(cmd, f, file, config.NewClient{Name: name, PublicKey: key.Public(), Routes: routes})
	if err != nil {
		return err
	}
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	notes := cmd.ErrOrStderr()
	fmt.Fprintf(notes, "client %q added: %s\n", name, strings.Join(texts, ", "))
	out := cmd.OutOrStdout()
	terminal, ok := out.(*os.File)
	if colours := ok && isTerminal(terminal); code || colours {
		if err := writeQR(out, token, colours); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, token)
	fmt.Fprintln(notes, "on the client's host, as root: braid up TOKEN; whoever has the token is this client")
	return nil
}

// addClient adds a client to the server that runs with the file, or to the file
// where none does.
func addClient(cmd *cobra.Command, f enrolFlags, file *config.File[config.Server], c config.NewClient) ([]netip.Addr, error) {
	done, err := control.AddClient(cmd.Context(), f.controlOf(file), control.ClientToAdd{
		File: file.Path, Name: c.Name, PublicKey: c.PublicKey.String(), Routes: c.Routes,
	})
	if err == nil {
		tell(cmd, done.Reloaded)
		return done.Addresses, nil
	}
	var added config.ServerClient
	runs, err := f.editHere(cmd, file, err, addTo(c, &added))
	if err != nil {
		return nil, err
	}
	if !runs {
		fmt.Fprintln(cmd.ErrOrStderr(), "no server runs here: it will know the client when it is started")
	}
	return added.Addresses, nil
}

// addTo is an edit that adds a client, of which it tells in added.
func addTo(c config.NewClient, added *config.ServerClient) func([]byte) ([]byte, error) {
	return func(data []byte) (text []byte, err error) {
		text, *added, err = config.AddClient(data, c)
		return text, err
	}
}

func (f *enrolFlags) controlOf(file *config.File[config.Server]) string {
	if f.socket != "" {
		return f.socket
	}
	return file.Config.Control
}

// editHere edits the file after the daemon has not, because of refused: because none
// runs, or because one runs as a user that may not write it. That one reads it again.
func (f *enrolFlags) editHere(cmd *cobra.Command, file *config.File[config.Server], refused error, edit func([]byte) ([]byte, error)) (runs bool, err error) {
	r, ok := errors.AsType[*control.Refusal](refused)
	runs = ok && r.Status == http.StatusForbidden && !r.Reader
	if !runs && (f.socket != "" || !nobodyThere(refused)) {
		return false, changeRefused(refused)
	}
	if _, err := config.Edit(file.Path, edit); err != nil {
		return runs, editError(err)
	}
	if !runs {
		return false, nil
	}
	done, err := control.Reload(cmd.Context(), f.controlOf(file))
	if err != nil {
		return true, changeRefused(err)
	}
	tell(cmd, done)
	return true, nil
}

// nobodyThere reports whether no daemon is behind the socket.
func nobodyThere(err error) bool {
	_, ok := errors.AsType[*control.Error](err)
	return ok && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED))
}

// tell tells what a reload did beside what was asked for.
func tell(cmd *cobra.Command, r control.Reloaded) {
	var more control.Reloaded
	for _, key := range r.Applied {
		if key != "client" {
			more.Applied = append(more.Applied, key)
		}
	}
	if more.Restart, more.Problems = r.Restart, r.Problems; len(more.Applied)+len(more.Restart)+len(more.Problems) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "the configuration was read again; %s\n", more.Text())
	}
}

// editError makes a refused edit an error of usage.
func editError(err error) error {
	if e, ok := errors.AsType[*config.EditError](err); ok {
		return &usageError{err, e.Hint()}
	}
	return err
}

// withHint gives an error that is of a kind another hint.
func withHint(err, kind error, hint string) error {
	if errors.Is(err, kind) {
		return &usageError{err, hint}
	}
	return err
}

// writeQR writes a QR code of half blocks, with the four modules of margin that
// readers want (ISO/IEC 18004, 6.3.8). What is light is drawn: with colours it is
// so on a light terminal as well.
func writeQR(w io.Writer, text string, colours bool) error {
	code, err := qr.Encode(text, qr.L, qr.Auto)
	if err != nil {
		return fmt.Errorf("make QR code: %w", err)
	}
	const margin = 4
	size := code.Bounds().Dx()
	light := func(x, y int) bool {
		if x < 0 || y < 0 || x >= size || y >= size {
			return y < size+margin
		}
		r, _, _, _ := code.At(x, y).RGBA()
		return r != 0
	}
	begin, end := "", "\n"
	if colours {
		begin, end = "\x1b[40;97m", "\x1b[0m\n" // bright white on black
	}
	var b strings.Builder
	for y := -margin; y < size+margin; y += 2 {
		b.WriteString(begin)
		for x := -margin; x < size+margin; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(end)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// enroller adds and removes clients of the server that runs.
type enroller struct{ *reloader[config.Server] }

// AddClient implements control.Enroller.
func (e enroller) AddClient(c control.ClientToAdd) (control.Enrolled, error) {
	key, err := crypto.ParsePublicKey(c.PublicKey)
	if err != nil {
		return control.Enrolled{}, &control.Refusal{Status: http.StatusBadRequest, Problem: err.Error(), Mend: crypto.Hint(err)}
	}
	var added config.ServerClient
	done, err := e.edit(c.File, addTo(config.NewClient{Name: c.Name, PublicKey: key, Routes: c.Routes}, &added))
	if err != nil {
		return control.Enrolled{}, err
	}
	e.log.Info("client added", "client", c.Name, "addresses", added.Addresses)
	return control.Enrolled{Addresses: added.Addresses, Reloaded: done}, nil
}

// RemoveClient implements control.Enroller.
func (e enroller) RemoveClient(c control.ClientToRemove) (r control.Removed, err error) {
	r.Reloaded, err = e.edit(c.File, remove(c.Name, &r.WasReachedBy))
	return r, err
}

// remove is an edit that removes a client, and tells who reached it.
func remove(name string, reached *[]string) func([]byte) ([]byte, error) {
	return func(data []byte) (text []byte, err error) {
		text, *reached, err = config.RemoveClient(data, name)
		return text, err
	}
}

// edit changes the file and takes what it says then.
func (e enroller) edit(path string, edit func([]byte) ([]byte, error)) (control.Reloaded, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if path != "" && !sameFile(path, e.began.Path) {
		return control.Reloaded{}, &control.Refusal{Status: http.StatusConflict,
			Problem: "the server that runs has another configuration, " + e.began.Path, Mend: "name it with: -c " + e.began.Path}
	}
	next, err := config.Edit(e.began.Path, edit)
	if err != nil {
		return control.Reloaded{}, refusalOf(err)
	}
	return e.takeLocked(next), nil
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(x, y)
}

var _ control.Enroller = enroller{}

// revoke removes a client from the server that runs with the file, or from the
// file where none does.
func revoke(ctx context.Context, cmd *cobra.Command, f enrolFlags, name string) error {
	file, err := config.OpenServer(f.config)
	if err != nil {
		return err
	}
	done, err := control.RemoveClient(ctx, f.controlOf(file), control.ClientToRemove{File: file.Path, Name: name})
	runs := true
	if err == nil {
		tell(cmd, done.Reloaded)
	} else if runs, err = f.editHere(cmd, file, err, remove(name, &done.WasReachedBy)); err != nil {
		return err
	}
	if runs {
		fmt.Fprintf(cmd.OutOrStdout(), "client %q has ended, and its key is refused\n", name)
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "client %q is removed; no server runs here\n", name)
	}
	for _, other := range done.WasReachedBy {
		fmt.Fprintf(cmd.OutOrStdout(), "client %q no longer has it in its reach\n", other)
	}
	return nil
}
