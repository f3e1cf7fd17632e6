// Package daemon runs braid's own program in a lab network: a server, a client
// on each of the network's client hosts, with keys and configurations made for
// the purpose.
//
// It knows braid as a user does, by its command line, its configuration files
// and the JSON of its status.
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"braid/lab"
	"braid/lab/topology"
)

// The tunnel's addresses.
var (
	Range4  = netip.MustParsePrefix("10.77.0.0/24")
	Range6  = netip.MustParsePrefix("fd77:b4a1::/64")
	Server4 = netip.MustParseAddr("10.77.0.1")
	Server6 = netip.MustParseAddr("fd77:b4a1::1")
	Home4   = netip.MustParseAddr("10.77.0.2") // of Setup.Client
	Home6   = netip.MustParseAddr("fd77:b4a1::2")
	Laptop4 = netip.MustParseAddr("10.77.0.3") // of Setup.Client2
	Laptop6 = netip.MustParseAddr("fd77:b4a1::3")
)

// Port is where the server listens.
const Port = 443

// stopPatience is ample for a daemon to undo what it did.
const stopPatience = 30 * time.Second

// Options change what the configurations say. The zero value is a full tunnel
// for all, with NAT at the server.
type Options struct {
	Server     string // lines at the top of server.toml, before the first table
	Listen     string // where the server listens, a list as in TOML; "" is Port everywhere
	Tunnel     string // lines of [tunnel] in server.toml
	Home       string // lines of the [[client]] that is Setup.Client, and tables behind it
	Laptop     string // the same of Setup.Client2
	ClientTop  string // lines at the top of client.toml
	ClientMore string // lines of [tunnel] in client.toml, and tables behind it
	TCP        string // tunnel.tcp on both sides; "" is braid's default
	Congestion string // tunnel.congestion on both sides; "" is braid's default
	LogLevel   string // "" is info

	// User runs the daemons, 0 for root, started through the command that Through
	// returns for a role: "server" or "client".
	User    int
	Through func(role string) []string
}

// serverTunnel is [tunnel] in server.toml, the addresses apart.
func (o Options) serverTunnel() string { return o.bothTunnels() + o.Tunnel }

// clientTunnel is [tunnel] in client.toml, and what follows it.
func (o Options) clientTunnel() string { return o.bothTunnels() + o.ClientMore }

func (o Options) bothTunnels() string {
	return optional("tcp", o.TCP) + optional("congestion", o.Congestion)
}

// optional is the line of a key, unless its value is "".
func optional(key, value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf("%s = %q\n", key, value)
}

// Setup is a server and its clients in a network, running or not.
type Setup struct {
	Net     *topology.Net
	Server  *Daemon
	Client  *Daemon
	Client2 *Daemon // nil where the network has no such host
}

// New makes keys and configurations in dir, which must exist, for the program
// binary. Nothing is started.
func New(net *topology.Net, binary, dir string, o Options) (*Setup, error) {
	s := &Setup{Net: net}
	prepare := func(role, name string, host *lab.Host) (*Daemon, error) {
		d := &Daemon{host: host, binary: binary, role: role, dir: filepath.Join(dir, name), level: o.LogLevel, user: o.User}
		if o.Through != nil {
			d.through = o.Through(role)
		}
		if d.level == "" {
			d.level = "info"
		}
		return d, d.keygen()
	}
	var err error
	if s.Server, err = prepare("server", "server", net.Server); err != nil {
		return nil, err
	}
	if s.Client, err = prepare("client", "home", net.Client); err != nil {
		return nil, err
	}
	if net.Client2 != nil {
		if s.Client2, err = prepare("client", "laptop", net.Client2); err != nil {
			return nil, err
		}
	}
	return s, s.configure(o)
}

func (s *Setup) configure(o Options) error {
	var b strings.Builder
	listen := o.Listen
	if listen == "" {
		listen = fmt.Sprintf("[\":%d\"]", Port)
	}
	fmt.Fprintf(&b, "%s\nlisten = %s\nprivate_key_file = \"key\"\ncontrol = %q\n\n[tunnel]\naddresses = [\"%v/24\", \"%v/64\"]\n%s\n",
		o.Server, listen, s.Server.socket(), Server4, Server6, o.serverTunnel())
	fmt.Fprintf(&b, "\n[[client]]\nname = \"home\"\npublic_key = %q\naddresses = [\"%v\", \"%v\"]\n", s.Client.PublicKey, Home4, Home6)
	if s.Net.Lan != nil {
		fmt.Fprintf(&b, "routes = [\"192.168.10.0/24\", \"fd00:10::/64\"]\n")
	}
	b.WriteString(o.Home)
	if s.Client2 != nil {
		fmt.Fprintf(&b, "\n[[client]]\nname = \"laptop\"\npublic_key = %q\naddresses = [\"%v\", \"%v\"]\n", s.Client2.PublicKey, Laptop4, Laptop6)
		if s.Net.Lan2 != nil {
			fmt.Fprintf(&b, "routes = [\"192.168.20.0/24\", \"fd00:20::/64\"]\n")
		}
		b.WriteString(o.Laptop)
	}
	if err := s.Server.write(b.String()); err != nil {
		return err
	}
	for _, c := range []*Daemon{s.Client, s.Client2} {
		if c == nil {
			continue
		}
		if err := c.write(s.ClientConfig(c, o)); err != nil {
			return err
		}
	}
	return nil
}

// ServerAt gives a client's configuration other addresses of the server.
func (s *Setup) ServerAt(c *Daemon, o Options, servers ...netip.AddrPort) error {
	was := fmt.Sprintf("%q", netip.AddrPortFrom(s.Net.ServerAddr4, Port))
	var list []string
	for _, a := range servers {
		list = append(list, fmt.Sprintf("%q", a))
	}
	return c.write(strings.Replace(s.ClientConfig(c, o), was, strings.Join(list, ", "), 1))
}

// ClientConfig is client.toml for a client.
func (s *Setup) ClientConfig(c *Daemon, o Options) string {
	return fmt.Sprintf("%s\nserver = [\"%v:%d\"]\nserver_public_key = %q\nprivate_key_file = \"key\"\ncontrol = %q\nstate = %q\n\n[tunnel]\n%s\n",
		o.ClientTop, s.Net.ServerAddr4, Port, s.Server.PublicKey, c.socket(), filepath.Join(c.dir, "state"), o.clientTunnel())
}

// Start starts server and client and waits until the client has a subflow on
// each of its network's uplinks.
func (s *Setup) Start(ctx context.Context) error {
	if err := s.Server.Start(ctx); err != nil {
		return err
	}
	if err := s.Client.Start(ctx); err != nil {
		return err
	}
	return s.Client.WaitUp(ctx, len(s.Net.Routers)-len(s.others()))
}

// others are the routers that are not the first client's.
func (s *Setup) others() []*lab.Host {
	if s.Net.Client2 == nil {
		return nil
	}
	return []*lab.Host{s.Net.Routers["client2"]}
}

// Stop stops what runs, clients first.
func (s *Setup) Stop() error {
	var errs []error
	for _, d := range []*Daemon{s.Client, s.Client2, s.Server} {
		if d != nil && d.process != nil {
			errs = append(errs, d.Stop())
		}
	}
	return errors.Join(errs...)
}

// Daemon is one braid, running or not. Its methods are for one goroutine at a
// time, Status apart.
type Daemon struct {
	PublicKey string

	host      *lab.Host
	binary    string
	role      string // "server" or "client"
	dir       string
	level     string
	user      int
	through   []string
	process   *lab.Process
	processes []*lab.Process // all so far
}

func (d *Daemon) socket() string { return filepath.Join(d.dir, "run", d.role+".sock") }

// RunDir is where the daemon keeps its socket and its state.
func (d *Daemon) RunDir() string { return filepath.Dir(d.socket()) }

// ConfigFile is the path of its configuration.
func (d *Daemon) ConfigFile() string { return filepath.Join(d.dir, d.role+".toml") }

func (d *Daemon) keygen() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("make folder of %s: %w", d.role, err)
	}
	out, err := exec.Command(d.binary, "keygen", filepath.Join(d.dir, "key")).Output()
	if err != nil {
		return fmt.Errorf("make key of %s: %w", d.role, err)
	}
	d.PublicKey = strings.TrimSpace(string(out))
	return d.hand()
}

// hand gives the daemon's user its files as a package does: it may read them, and
// write where its socket and its state are.
func (d *Daemon) hand() error {
	if d.user == 0 {
		return nil
	}
	var errs []error
	read := func(path string, mode os.FileMode) {
		errs = append(errs, os.Chown(path, 0, d.user), os.Chmod(path, mode))
	}
	read(d.dir, 0o750)
	read(filepath.Join(d.dir, "key"), 0o640)
	for _, dir := range []string{d.RunDir(), filepath.Join(d.dir, "state")} {
		errs = append(errs, os.MkdirAll(dir, 0o755), os.Chown(dir, d.user, d.user))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("hand files of %s to its user: %w", d.role, err)
	}
	return nil
}

func (d *Daemon) write(config string) error {
	if err := os.WriteFile(d.ConfigFile(), []byte(config), 0o600); err != nil {
		return fmt.Errorf("write configuration of %s: %w", d.role, err)
	}
	if d.user != 0 {
		if err := errors.Join(os.Chown(d.ConfigFile(), 0, d.user), os.Chmod(d.ConfigFile(), 0o640)); err != nil {
			return fmt.Errorf("hand configuration of %s to its user: %w", d.role, err)
		}
	}
	return nil
}

// Rewrite replaces its configuration; the next Start uses it.
func (d *Daemon) Rewrite(config string) error { return d.write(config) }

// Start starts the daemon and waits until it answers on its control socket; ctx
// bounds the waiting alone. The daemon runs until it is stopped or the lab ends.
func (d *Daemon) Start(ctx context.Context) error {
	var err error
	args := append(slices.Clone(d.through), d.binary, d.role, "-c", d.ConfigFile(), "--log-level", d.level)
	d.process, err = d.host.Start(context.WithoutCancel(ctx), exec.Command(args[0], args[1:]...))
	if err != nil {
		return err
	}
	d.processes = append(d.processes, d.process)
	for {
		if _, err := d.Poll(ctx); err == nil {
			return nil
		}
		select {
		case <-d.process.Done():
			return fmt.Errorf("start %s: it ended:\n%s", d.role, d.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w:\n%s", d.role, ctx.Err(), d.process.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the daemon as systemd would and waits. It is an error if it had to
// be killed or failed.
func (d *Daemon) Stop() error {
	p := d.process
	d.process = nil
	if err := p.Stop(stopPatience); err != nil {
		return fmt.Errorf("%w:\n%s", err, p.Output())
	}
	if err := p.Wait(context.Background()); err != nil {
		return fmt.Errorf("stop %s: %w:\n%s", d.role, err, p.Output())
	}
	return nil
}

// Kill kills the daemon, so that it cannot undo anything.
func (d *Daemon) Kill() error {
	err := d.process.Signal(syscall.SIGKILL)
	<-d.process.Done()
	d.process = nil
	return err
}

// Quit ends the daemon with SIGQUIT, at which it undoes nothing, and returns the
// stacks of its goroutines as Go's runtime then prints them, each by itself.
func (d *Daemon) Quit() (stacks []string, err error) {
	p := d.process
	d.process = nil
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-time.After(stopPatience):
		p.Kill()
		return nil, fmt.Errorf("quit %s: killed after %v", d.role, stopPatience)
	}
	_, text, _ := strings.Cut(string(p.Output()), quitTitle)
	for part := range strings.SplitSeq(text, "\n\n") {
		// Number 0 is no goroutine, but a thread's own stack.
		if strings.HasPrefix(part, "goroutine ") && !strings.HasPrefix(part, "goroutine 0 ") {
			stacks = append(stacks, part)
		}
	}
	if len(stacks) == 0 {
		return nil, fmt.Errorf("quit %s: it listed no goroutines:\n%s", d.role, p.Output())
	}
	return stacks, nil
}

// quitTitle stands before the stacks that SIGQUIT brings.
const quitTitle = "SIGQUIT: quit\n"

// Hangup lets the running daemon read its configuration again.
func (d *Daemon) Hangup() error { return d.process.Signal(syscall.SIGHUP) }

// PID of the running process.
func (d *Daemon) PID() int { return d.process.PID() }

// Log is what its processes have written, but for the stacks of Quit.
func (d *Daemon) Log() string {
	var b strings.Builder
	for _, p := range d.processes {
		out, _, _ := strings.Cut(string(p.Output()), quitTitle)
		b.WriteString(out)
	}
	return b.String()
}

// Status is what a test or a table needs of braid's status. Rates are in bits
// per second.
type Status struct {
	Session struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
		ID     string `json:"id"`
		MPTCP  bool   `json:"mptcp"`
	} `json:"session"`
	Verdict struct {
		Text string `json:"text"`
	} `json:"verdict"`
	Gain struct {
		Text string `json:"text"`
	} `json:"gain"`
	Uplinks  []Uplink `json:"uplinks"`
	Carriers Carriers `json:"carriers"`
	Clients  []struct {
		Name     string         `json:"name"`
		State    string         `json:"state"`
		Packets  map[string]int `json:"packets"`
		Uplinks  []Uplink       `json:"uplinks"`
		Carriers Carriers       `json:"carriers"`
	} `json:"clients"`
	Packets    map[string]int `json:"packets"`
	PacketLane PacketLane     `json:"packet_lane"`
	DNS        DNS            `json:"dns"`
	Rejected   int            `json:"rejected"`
	Malformed  int            `json:"malformed"`
}

// DNS is how a client's host asks for names.
type DNS struct {
	Servers []netip.Addr `json:"servers"`
	SetBy   []string     `json:"set_by"`
	Reason  string       `json:"reason"`
}

// PacketLane is what became of packets that one end sent.
type PacketLane struct {
	Bulk struct {
		Packets    uint64 `json:"packets"`
		Dropped    uint64 `json:"dropped"`
		Overflowed uint64 `json:"overflowed"`
		TooOld     uint64 `json:"too_old"`
	} `json:"bulk"`
	CopiesAtOnce PacketCopies `json:"copies_at_once"`
	CopiesAgain  PacketCopies `json:"copies_again"`
	Saved        uint64       `json:"saved"`
	Disordered   uint64       `json:"disordered"` // of what it received
	Passed       uint64       `json:"passed"`
}

// PacketCopies is what copies of packets did.
type PacketCopies struct {
	Sent   uint64 `json:"sent"`
	Useful uint64 `json:"useful"`
}

// Uplink is one uplink of Status.
type Uplink struct {
	Interface string  `json:"interface"`
	Role      string  `json:"role"`
	State     string  `json:"state"`
	Use       string  `json:"use"` // what it is used for now
	Reason    string  `json:"reason"`
	RTTms     float64 `json:"rtt_ms"`
	RxBytes   uint64  `json:"rx_bytes"`
	TxBytes   uint64  `json:"tx_bytes"`
	RxBps     float64 `json:"rx_bps"`
	TxBps     float64 `json:"tx_bps"`
	// The most that it delivered of late.
	DeliverRxBps float64 `json:"deliver_rx_bps"`
	DeliverTxBps float64 `json:"deliver_tx_bps"`
	JitterMs     float64 `json:"jitter_ms"`
	MPTCP        bool    `json:"mptcp"`
	Subflows     int     `json:"subflows"`
	Deaths       int     `json:"deaths"`
	Packets      struct {
		TxPackets uint64 `json:"tx_packets"`
	} `json:"packets"`
}

// Carriers counts the live connections between a client and the server.
type Carriers struct {
	Bond int `json:"bond"`
	Path int `json:"path"`
	Idle int `json:"idle"`
}

// Up counts the uplinks that carry traffic.
func (s Status) Up() int {
	n := 0
	for _, u := range s.Uplinks {
		if u.State == "up" && u.Subflows > 0 {
			n++
		}
	}
	return n
}

// Status runs "braid status --json".
func (d *Daemon) Status(ctx context.Context) (Status, error) {
	var s Status
	out, err := exec.CommandContext(ctx, d.binary, "status", "--json", "--control", d.socket()).Output()
	if err != nil {
		return s, fmt.Errorf("ask %s for its status: %w", d.role, err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("read status of %s: %w", d.role, err)
	}
	return s, nil
}
