package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"braid/config"
	"braid/control"
	"braid/crypto"
	"braid/doctor"
	"braid/hostnet"
	"braid/mptcp"
)

// examiner gathers a doctor's facts.
type examiner struct {
	flags  doctorFlags
	host   *hostnet.Kernel
	root   bool // whether this process has CAP_NET_ADMIN
	client *config.Client
	server *config.Server
	status *control.Client // of the running client; nil: none
	facts  doctor.Facts
}

func (e *examiner) skip(subject, check string, err error) {
	e.facts.Skipped = append(e.facts.Skipped, doctor.Skipped{Subject: subject, Check: check, Reason: err.Error()})
}

// gather finds out all that a doctor judges.
func gather(ctx context.Context, f doctorFlags) (facts doctor.Facts, err error) {
	e := &examiner{flags: f}
	if e.host, err = hostnet.OpenHost(); err != nil {
		return facts, err
	}
	defer e.host.Close()
	e.root, _ = cap.GetProc().GetFlag(cap.Effective, cap.NET_ADMIN)
	e.readConfigs()
	e.lookAtHost()
	if e.client != nil {
		e.askClient(ctx)
		e.lookAtClient(ctx)
	}
	if e.server != nil {
		e.lookAtServer(ctx)
	}
	return e.facts, nil
}

// readConfigs reads the configuration that is named, or those that exist.
func (e *examiner) readConfigs() {
	complain := func(err error) {
		var list []string
		var mend string
		var all *config.Errors
		if errors.As(err, &all) {
			for _, one := range all.List {
				list = append(list, one.Error()+optionalHint(one))
			}
		} else {
			list, mend = []string{err.Error()}, crypto.Hint(err)
		}
		e.facts.Host.Support = append(e.facts.Host.Support, doctor.Support{ID: "configuration", Detail: strings.Join(list, "; "), Mend: mend})
	}
	open := func(path string, isClient bool) {
		var err error
		if isClient {
			e.client, err = config.LoadClient(path)
		} else {
			e.server, err = config.LoadServer(path)
		}
		if errors.Is(err, fs.ErrPermission) {
			e.skip(doctor.SubjectHost, "configuration", err)
		} else if err != nil {
			complain(err)
		}
	}
	if path := e.flags.config; path != "" {
		text, _ := os.ReadFile(path) // what is wrong with it, open says
		open(path, isClientConfig(string(text)))
		return
	}
	none := true
	for _, isClient := range []bool{true, false} {
		path := configPath(map[bool]string{true: "client", false: "server"}[isClient])
		if _, err := os.Stat(path); err == nil {
			none = false
			open(path, isClient)
		}
	}
	if none {
		e.skip(doctor.SubjectHost, "uplinks and server", fmt.Errorf("there is no configuration in %s: braid up TOKEN makes a client's, -c names another", filepath.Dir(configPath("client"))))
	}
}

// isClientConfig tells a client's configuration from a server's.
func isClientConfig(text string) bool {
	for line := range strings.Lines(text) {
		key, _, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(key) {
		case "server_public_key", "server":
			return true
		case "listen", "[[client]]":
			return false
		}
	}
	return true
}

func optionalHint(err error) string {
	if hint := crypto.Hint(err); hint != "" {
		return " (" + hint + ")"
	}
	return ""
}

// supportIDs are the doctor's names of what package mptcp checks.
var supportIDs = map[string]string{
	"mptcp": "mptcp-off", "mptcp-ipv6": "mptcp-no-ipv6", "userspace-path-manager": "path-manager",
	"path-manager-netlink": "path-manager", "full-info": "kernel-old", "bbr": "no-bbr", "join-initial-address": "join-refused",
}

// lookAtHost looks at kernel and settings.
func (e *examiner) lookAtHost() {
	h := &e.facts.Host
	h.Kernel = kernelRelease()
	e.lookAtKernel()
	var err error
	if h.ForeignRules, err = e.host.ForeignRules(); err != nil {
		e.skip(doctor.SubjectHost, "routing rules", err)
	}
	if pm, err := mptcp.OpenPathManager(); err == nil {
		list, err := pm.Endpoints()
		if err != nil && e.root {
			e.skip(doctor.SubjectHost, "MPTCP endpoints", err)
		}
		for _, p := range list {
			if !p.Implicit {
				h.Endpoints = append(h.Endpoints, fmt.Sprintf("%v, id %d", p.Addr, p.ID))
			}
		}
		pm.Close()
	}
	if !e.root {
		e.skip(doctor.SubjectHost, "kill switches, firewalls and the path manager", errors.New("this needs root"))
	} else if closed, err := hostnet.KillSwitches(e.host, runDir); err != nil {
		e.skip(doctor.SubjectHost, "kill switches", err)
	} else {
		for _, c := range closed {
			if !c.Running {
				h.OrphanedSwitches = append(h.OrphanedSwitches, c.Device)
			}
		}
	}
	// A program cannot be newer than now.
	if path, err := os.Executable(); err == nil {
		if info, err := os.Stat(path); err == nil {
			if d := time.Until(info.ModTime()); d > 24*time.Hour {
				h.ClockBehind, h.ClockEvidence = d, path+" was written after that"
			}
		}
	}
}

func (e *examiner) lookAtKernel() {
	h := &e.facts.Host
	off := false
	for _, f := range mptcp.Check() {
		id, ok := supportIDs[f.Name]
		switch {
		case f.Name == "blackhole-timeout":
			h.BlackholeArmed = !f.OK()
		case !ok, off && !f.OK():
		case f.Name == "userspace-path-manager" && !e.root: // it is the daemon that must be able to
		case f.Name == "join-initial-address" && e.server == nil: // a client may do as it likes
		default:
			h.Support = append(h.Support, doctor.Support{ID: id, OK: f.OK(), Detail: f.Detail, Mend: f.Hint})
		}
		off = off || f.Name == "mptcp" && !f.OK()
	}
	if major, minor, ok := kernelNumbers(h.Kernel); ok && (major < 6 || major == 6 && minor < 1) {
		h.Support = append(h.Support, doctor.Support{ID: "kernel-too-old", Detail: "it is Linux " + h.Kernel})
	}
}

// kernelNumbers are the first two of a release.
func kernelNumbers(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	second, _, _ := strings.Cut(rest, ".")
	second, _, _ = strings.Cut(second, "-")
	major, err := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return major, minor, err == nil && err2 == nil
}

// fetch asks the daemon of a configuration for its status; nil: it does not
// answer.
func (e *examiner) fetch(ctx context.Context, socket string) any {
	if e.flags.socket != "" {
		socket = e.flags.socket
	}
	b, err := control.Fetch(ctx, socket)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			e.skip(doctor.SubjectHost, "the daemon", err)
		}
		return nil
	}
	v, err := control.Decode(b)
	if err != nil {
		e.skip(doctor.SubjectHost, "the daemon", err)
		return nil
	}
	return v
}

// askClient asks the running client how it is.
func (e *examiner) askClient(ctx context.Context) {
	c := &doctor.Client{}
	e.facts.Client = c
	c.Version = software()
	s, ok := e.fetch(ctx, e.client.Control).(*control.Client)
	if !ok {
		return
	}
	e.status = s
	c.Daemon = e.daemon(e.client.Control, "braid "+s.Version, e.client.Limits.Streams)
	c.SessionUp, c.Reason = s.Session.State == control.SessionUp, s.Session.Reason
	c.NamesFail, c.Limited = s.DNS.Reason, s.Streams.Limited
}

// descriptorsBeside is what a daemon has open beside two for each stream: uplinks,
// carriers, netlink, and what is being made.
const descriptorsBeside = 256

// daemon is what the kernel tells of the process behind a control socket.
func (e *examiner) daemon(socket, version string, streams int) doctor.Daemon {
	d := doctor.Daemon{Running: true, Version: version, Needed: 2*uint64(streams) + descriptorsBeside}
	if e.flags.socket != "" {
		socket = e.flags.socket
	}
	pid, err := socketOwner(socket)
	if err != nil {
		e.skip(doctor.SubjectHost, "the daemon's limits", err)
		return d
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err == nil {
		d.Descriptors = limit.Max // Go raises it to that
	} else {
		e.skip(doctor.SubjectHost, "the daemon's limits", err)
	}
	have, err := cap.GetPID(pid)
	if err != nil {
		e.skip(doctor.SubjectHost, "the daemon's capabilities", err)
		return d
	}
	for _, v := range []cap.Value{cap.BPF, cap.PERFMON} {
		if ok, err := have.GetFlag(cap.Effective, v); err == nil && !ok {
			d.NoPacing = "the daemon lacks " + strings.ToUpper(v.String())
		}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		d.NoPacing = "the kernel has no BTF: " + err.Error()
	}
	return d
}

// socketOwner is the process that listens on a Unix socket.
func socketOwner(path string) (pid int, err error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var owner *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { owner, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, fmt.Errorf("find the process behind %s: %w", path, err)
	}
	return int(owner.Pid), nil
}

// lookAtFirewalls looks for what drops packets that the tunnel forwards.
func (e *examiner) lookAtFirewalls(d hostnet.Desired) {
	if !e.root {
		return
	}
	ranges := slices.Concat(d.Addresses, d.Sources)
	if len(d.Masquerade) > 0 {
		ranges = d.Masquerade
	}
	for _, toward := range []bool{false, true} {
		if toward && len(d.Forwards) == 0 {
			continue
		}
		list, err := e.host.ClosedChains(d.Device, ranges, toward)
		if err != nil {
			e.skip(doctor.SubjectHost, "firewalls", err)
			return
		}
		what := map[bool]string{false: "what is forwarded from the tunnel", true: "what port forwards send into the tunnel"}[toward]
		for _, c := range list {
			e.facts.Host.Firewalls = append(e.facts.Host.Firewalls, doctor.Firewall{Chain: c.Chain, Drops: what, Mend: c.Mend})
		}
	}
}
