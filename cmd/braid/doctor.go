package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"braid/doctor"
)

// doctorPatience bounds all of what a doctor does. What is not known by then is
// said to be so.
const doctorPatience = 15 * time.Second

// quietError fails a command that has said all that there is to say.
type quietError struct{ error }

// errComplaints is the doctor's, of findings that are errors.
var errComplaints = &quietError{errors.New("there are errors")}

// loadChoice is over which uplinks a doctor makes a transfer.
type loadChoice string

const (
	loadNone      loadChoice = "none"
	loadUnmetered loadChoice = "unmetered"
	loadAll       loadChoice = "all"
)

func (l *loadChoice) String() string { return string(*l) }
func (l *loadChoice) Type() string   { return "none|unmetered|all" }

// Set implements pflag.Value.
func (l *loadChoice) Set(text string) error {
	switch c := loadChoice(text); c {
	case loadNone, loadUnmetered, loadAll:
		*l = c
		return nil
	}
	return errors.New("want none, unmetered or all")
}

// doctorFlags are those of the command line.
type doctorFlags struct {
	config, socket string
	json, verbose  bool
	load           loadChoice
}

func newDoctorCommand() *cobra.Command {
	f := doctorFlags{load: loadNone}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with this host, its uplinks, or the server",
		Long: "doctor looks at this host, at each uplink and at the server, and says what is wrong, how it\n" +
			"knows, and what to do. It changes nothing and disturbs nobody: it asks the running daemon,\n" +
			"and makes connections of its own to the server, some 100 KB on each uplink. Without a daemon,\n" +
			"or without root, it finds out what it can, and says what it could not.\n\n" +
			"With --load it also makes a transfer over each uplink that is not metered and has no cap\n" +
			"(all of them with --load=all), of 12 MB at most, to see how deep its queue is.\n\n" +
			"It exits with 1 when something is wrong that is an error, otherwise with 0.",
		Example: "  braid doctor\n  braid doctor --verbose --load\n  braid doctor -c /etc/braid/office.toml --json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, f) },
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "the client's or server's configuration (default those in /etc/braid that exist)")
	c.Flags().StringVar(&f.socket, "control", "", "the daemon's control socket (default that of the configuration)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "list what is good as well, and the figures of each uplink")
	c.Flags().Var(&f.load, "load", "make a transfer to see how deep the queues are")
	c.Flags().Lookup("load").NoOptDefVal = string(loadUnmetered)
	return c
}

func runDoctor(cmd *cobra.Command, f doctorFlags) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), doctorPatience)
	defer cancel()
	facts, err := gather(ctx, f)
	if err != nil {
		return err
	}
	if err := cmd.Context().Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	report := doctor.Judge(facts)
	if f.json {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	} else {
		err = doctor.WriteText(cmd.OutOrStdout(), report, f.verbose)
	}
	if err != nil {
		return err
	}
	if worst, _ := report.Worst(); worst == doctor.Error {
		return errComplaints
	}
	return nil
}
