// Package demo is braid's demonstration: a download and an ssh session over
// three uplinks, two of which are cut and come back.
//
// It re-enacts, with a VPN in place of a patched kernel at both ends, the
// demonstration with which Multipath TCP in the Linux kernel was first shown in
// public: one connection over Ethernet, Wi-Fi and 3G, and the plug pulled.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
	"braid/lab/topology"
)

// fileBytes is the size of the download: what the phases below carry at full
// rate, and a few seconds more.
const fileBytes = 290_000_000

// limit ends a demonstration that hangs.
const limit = 4 * time.Minute

// phase is a part of the demonstration: what happens, and for how long it is
// then watched. The last one lasts until the file is there.
type phase struct {
	title string
	lasts time.Duration
	do    func(*show) error
}

var phases = []phase{
	{"Ethernet, Wi-Fi and 3G together", 12 * time.Second, func(*show) error { return nil }},
	{"Ethernet is cut", 10 * time.Second, func(s *show) error { return s.plug("eth", false) }},
	{"Wi-Fi is cut, too", 8 * time.Second, func(s *show) error { return s.plug("wifi", false) }},
	{"both come back", 0, func(s *show) error { return errors.Join(s.plug("eth", true), s.plug("wifi", true)) }},
}

// show is a running demonstration.
type show struct {
	out   io.Writer
	net   *topology.Net
	braid *daemon.Setup
	meter *probe.Meter
	ssh   *counter
	began time.Time
	marks []mark
}

// mark is the beginning of a phase on the meter's clock.
type mark struct {
	title string
	at    time.Duration
}

func (s *show) plug(uplink string, in bool) error { return s.net.Links[uplink].SetCarrier(in) }

// Run shows the demonstration with the program binary and writes what happens
// to out. It needs root. The error says what was not as promised.
func Run(ctx context.Context, binary string, out io.Writer) (err error) {
	for _, program := range []string{"ssh", "ssh-keygen", "curl", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("run demonstration: %w (scripts/demo.sh installs what it needs)", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := lab.New("demo")
	if err != nil {
		return fmt.Errorf("run demonstration: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	dir, err := os.MkdirTemp("", "braid-demo-")
	if err != nil {
		return fmt.Errorf("run demonstration: %w", err)
	}
	defer os.RemoveAll(dir)

	s := &show{out: out, began: time.Now()}
	if s.net, err = topology.Build(l, topology.Demo()); err != nil {
		return err
	}
	if s.braid, err = daemon.New(s.net, binary, dir, daemon.Options{}); err != nil {
		return err
	}
	// What nearly every server on the internet runs, whatever this machine's
	// default is.
	if err := s.net.Internet.SetCongestionControl("cubic"); err != nil {
		return err
	}
	fmt.Fprint(out, introduction)
	if err := s.braid.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.braid.Stop()) }()
	return s.run(ctx, dir)
}

const introduction = `braid: one download over every uplink, and none is missed when it dies

            ┌─ Ethernet 50/10 Mb/s, 20 ms ──┐
   client ──┼─ Wi-Fi    30/10 Mb/s, 40 ms ──┼── server ── internet
            └─ 3G        8/2  Mb/s, 100 ms ─┘

curl downloads a file and ssh counts, both through the tunnel, both from the
internet host. The rates are what braid status says of each uplink, and behind
each part stands its verdict; braid top has both as a picture that moves.

`

func (s *show) run(ctx context.Context, dir string) error {
	var err error
	if s.ssh, err = startCounter(ctx, s.net, dir); err != nil {
		return err
	}
	defer s.ssh.stop()
	files, err := probe.ServeHTTP(s.net.Internet, netip.AddrPortFrom(s.net.InternetAddr4, 0).String())
	if err != nil {
		return err
	}
	defer files.Close()
	d, err := startDownload(ctx, s.net, files.URL(s.net.InternetAddr4, fileBytes))
	if err != nil {
		return err
	}
	s.meter = d.meter
	fmt.Fprintln(s.out, header())
	for _, p := range phases {
		if err := s.play(ctx, p, d); err != nil {
			return err
		}
	}
	s.meter.Stop()
	s.ssh.stop()
	return s.conclude(d)
}

// play begins a phase and watches it.
func (s *show) play(ctx context.Context, p phase, d *download) error {
	fmt.Fprintf(s.out, "── %s\n", p.title)
	s.marks = append(s.marks, mark{p.title, s.meter.Elapsed()})
	if err := p.do(s); err != nil {
		return err
	}
	var over <-chan time.Time
	if p.lasts > 0 {
		t := time.NewTimer(p.lasts)
		defer t.Stop()
		over = t.C
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last daemon.Status
	defer func() { fmt.Fprint(s.out, verdict(last)) }()
	for {
		select {
		case <-tick.C:
			var err error
			if last, err = s.braid.Client.Status(ctx); err != nil {
				return err
			}
			fmt.Fprintln(s.out, s.row(last))
		case <-over:
			return nil
		case <-d.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("run demonstration: %w", ctx.Err())
		}
	}
}
