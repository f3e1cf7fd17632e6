package mptcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Severity of a Finding.
type Severity uint8

// How bad a Finding is.
const (
	Fine     Severity = iota // as it should be
	Degraded                 // works, but not as well as it could
	Fatal                    // several uplinks cannot be used together
)

func (s Severity) String() string {
	switch s {
	case Fine:
		return "ok"
	case Degraded:
		return "degraded"
	case Fatal:
		return "fatal"
	}
	return fmt.Sprintf("severity-%d", uint8(s))
}

// A Finding is one thing that Check looked at.
type Finding struct {
	Name     string // a short fixed word, such as "mptcp" or "bbr"
	Severity Severity
	Detail   string // what was found
	Hint     string // how to mend it, empty where nothing is to be mended
}

// OK tells whether there is nothing to mend.
func (f Finding) OK() bool { return f.Severity == Fine }

// Check looks whether the kernel and this process's rights suffice, in the
// network namespace of the calling thread. It changes nothing: sysctls are
// opened for writing and not written, sockets are made and closed, and no kernel
// module is loaded. The findings are in a fixed order, what is fine included.
func Check() []Finding {
	// The files below /proc/sys/net are those of the thread's namespace.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return []Finding{
		checkSocket(), checkIPv6(), checkCapability(), checkManager(), checkNetlink(),
		checkFullInfo(), checkBBR(), checkBlackhole(), checkJoinInitial(),
	}
}

func fine(name, format string, args ...any) Finding {
	return Finding{Name: name, Detail: fmt.Sprintf(format, args...)}
}

// withSocket calls fn with a fresh MPTCP socket of IPv4, which every kernel with
// MPTCP makes.
func withSocket(family int, fn func(fd int) error) error {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

func noop(int) error { return nil }

// What a finding says that cannot be had while the first one is bad.
const (
	noSockets = "there are no MPTCP sockets at all"
	mendFirst = "mend «mptcp» first"
)

func checkSocket() Finding {
	const name = "mptcp"
	err := withSocket(unix.AF_INET, noop)
	if err == nil {
		return fine(name, "the kernel makes MPTCP sockets")
	}
	f := Finding{Name: name, Severity: Fatal, Detail: "the kernel makes no MPTCP sockets: " + err.Error()}
	var e *Error
	if errors.As(socketError(err, false), &e) {
		f.Hint = e.Hint
	}
	return f
}

func checkIPv6() Finding {
	const name = "mptcp-ipv6"
	err := withSocket(unix.AF_INET6, noop)
	switch {
	case err == nil:
		return fine(name, "a connection can have IPv4 and IPv6 subflows")
	case withSocket(unix.AF_INET, noop) != nil:
		return Finding{Name: name, Severity: Degraded, Detail: noSockets, Hint: mendFirst}
	}
	return Finding{Name: name, Severity: Degraded, Detail: "no MPTCP over IPv6: " + err.Error(),
		Hint: "the kernel needs CONFIG_MPTCP_IPV6, and IPv6 not switched off at boot (ipv6.disable=1); IPv4 works without"}
}

func checkCapability() Finding {
	const name = "cap-net-admin"
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	if err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 {
		return fine(name, "the process has CAP_NET_ADMIN")
	}
	detail := "the process lacks CAP_NET_ADMIN, which marks, large buffers and the path manager need"
	if err != nil {
		detail = "the process's capabilities cannot be read: " + err.Error()
	}
	return Finding{Name: name, Severity: Fatal, Detail: detail,
		Hint: "run it as root, or with AmbientCapabilities=CAP_NET_ADMIN in its systemd unit"}
}

// checkManager opens the sysctl for writing, which is refused without the right
// to and where /proc/sys is read-only, and writes nothing.
func checkManager() Finding {
	const name = "userspace-path-manager"
	sysctl, value, err := readManager()
	if err != nil {
		return Finding{Name: name, Severity: Fatal, Detail: err.Error(),
			Hint: "the userspace path manager needs Linux 5.19 or newer with MPTCP, and /proc/sys mounted"}
	}
	if available, err := readSysctl("/proc/sys/net/mptcp/available_path_managers"); err == nil &&
		!slices.Contains(strings.Fields(available), "userspace") {
		return Finding{Name: name, Severity: Fatal, Detail: "the kernel's path managers are: " + available,
			Hint: "braid needs the one named userspace"}
	}
	if value == sysctl.userspace {
		return fine(name, "%s is %s for the whole namespace", sysctl.name, value)
	}
	f, err := os.OpenFile(sysctl.path, os.O_WRONLY, 0)
	if err != nil {
		return Finding{Name: name, Severity: Fatal, Detail: sysctl.name + " cannot be set: " + err.Error(),
			Hint: "a client needs CAP_NET_ADMIN and a writable /proc/sys (in systemd units ProtectKernelTunables=no), " +
				"or " + sysctl.name + "=" + sysctl.userspace + " for the whole host"}
	}
	f.Close()
	return fine(name, "%s is %s and can be set", sysctl.name, value)
}

// neededCommands of the path manager's family, newest first.
var neededCommands = []struct {
	command uint32
	name    string
}{
	{cmdSubflowDestroy, "SUBFLOW_DESTROY"}, {cmdSubflowCreate, "SUBFLOW_CREATE"}, {cmdRemove, "REMOVE"},
	{cmdSetFlags, "SET_FLAGS"}, {cmdGetLimits, "GET_LIMITS"}, {cmdSetLimits, "SET_LIMITS"}, {cmdGetAddr, "GET_ADDR"},
}

func checkNetlink() Finding {
	const name = "path-manager-netlink"
	conn, family, err := dialFamily()
	if err != nil {
		f := Finding{Name: name, Severity: Fatal, Detail: err.Error(),
			Hint: "the sandbox must allow AF_NETLINK sockets (in systemd units RestrictAddressFamilies)"}
		if errors.Is(err, ErrUnsupported) {
			f.Hint = "the kernel is built without MPTCP (CONFIG_MPTCP)"
		}
		return f
	}
	defer conn.Close()
	has, err := familyCommands(conn)
	if err != nil {
		return Finding{Name: name, Severity: Degraded, Detail: "the kernel does not tell its commands: " + err.Error()}
	}
	var missing []string
	for _, c := range neededCommands {
		if !slices.Contains(has, c.command) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return Finding{Name: name, Severity: Fatal, Detail: familyName + " lacks " + strings.Join(missing, ", "),
			Hint: "braid needs Linux 6.1 or newer"}
	}
	if !slices.ContainsFunc(family.Groups, func(g genetlink.MulticastGroup) bool { return g.Name == groupName }) {
		return Finding{Name: name, Severity: Degraded, Detail: familyName + " has no events", Hint: "braid needs Linux 6.1 or newer"}
	}
	return fine(name, "%s has all commands and events", familyName)
}

// familyCommands asks the controller of generic netlink for the commands of the
// path manager's family.
func familyCommands(conn *genetlink.Conn) ([]uint32, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.CTRL_ATTR_FAMILY_NAME, familyName)
	data, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	msgs, err := conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.CTRL_CMD_GETFAMILY, Version: 1}, Data: data,
	}, unix.GENL_ID_CTRL, netlink.Request)
	if err != nil {
		return nil, err
	}
	var all []uint32
	for _, m := range msgs {
		commands, err := decodeCommands(m.Data)
		if err != nil {
			return nil, err
		}
		all = append(all, commands...)
	}
	return all, nil
}

// decodeCommands finds CTRL_ATTR_OPS, an array of attributes that each hold one
// command's number and flags.
func decodeCommands(data []byte) (commands []uint32, err error) {
	err = eachAttr(data, func(typ uint16, ops fields) error {
		if typ != unix.CTRL_ATTR_OPS {
			return nil
		}
		return eachAttr(ops, func(_ uint16, op fields) error {
			return eachAttr(op, func(typ uint16, v fields) error {
				if typ == unix.CTRL_ATTR_OP_ID {
					commands = append(commands, v.u32(0))
				}
				return nil
			})
		})
	})
	return commands, err
}

func checkFullInfo() Finding {
	const name = "full-info"
	var errno unix.Errno
	if err := withSocket(unix.AF_INET, func(fd int) error {
		var head [fullInfoHead]byte // room for no subflow
		binary.NativeEndian.PutUint32(head[4:], tcpInfoRoom)
		binary.NativeEndian.PutUint32(head[12:], subflowInfoSize)
		_, errno = getsockopt(fd, unix.SOL_MPTCP, optFullInfo, head[:])
		return nil
	}); err != nil {
		return Finding{Name: name, Severity: Degraded, Detail: noSockets, Hint: mendFirst}
	}
	if errno != 0 {
		return Finding{Name: name, Severity: Degraded, Hint: "Linux 6.5 or newer has it",
			Detail: "the kernel has no MPTCP_FULL_INFO (" + errno.Error() + "); two older options stand in"}
	}
	return fine(name, "the kernel tells all of a connection's subflows at once")
}

func checkBBR() Finding {
	const name = "bbr"
	const hint = "with cubic a path that loses packets keeps little of its rate"
	available, err := readSysctl("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		return Finding{Name: name, Severity: Degraded, Detail: "the kernel's congestion controls cannot be read: " + err.Error()}
	}
	if !slices.Contains(strings.Fields(available), "bbr") {
		// Asking a socket for it would load the module.
		if moduleExists("tcp_bbr") {
			return fine(name, "bbr is a module that the first socket loads")
		}
		return Finding{Name: name, Severity: Degraded, Detail: "the kernel has no bbr, only " + available,
			Hint: "modprobe tcp_bbr, or a kernel with CONFIG_TCP_CONG_BBR: " + hint}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err == nil {
		err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
		unix.Close(fd)
	}
	if err != nil {
		return Finding{Name: name, Severity: Degraded, Detail: "bbr is not allowed to this process: " + err.Error(),
			Hint: "CAP_NET_ADMIN, or add bbr to net.ipv4.tcp_allowed_congestion_control: " + hint}
	}
	return fine(name, "bbr is there and allowed")
}

// moduleExists looks into the index of the running kernel's modules.
func moduleExists(module string) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	release := unix.ByteSliceToString(u.Release[:])
	index, err := os.ReadFile("/lib/modules/" + release + "/modules.dep")
	return err == nil && strings.Contains(string(index), "/"+module+".ko")
}

func checkBlackhole() Finding {
	const name = "blackhole-timeout"
	value, err := readSysctl("/proc/sys/net/mptcp/blackhole_timeout")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fine(name, "this kernel never switches MPTCP off by itself")
	case err != nil:
		return Finding{Name: name, Severity: Degraded, Detail: "net.mptcp.blackhole_timeout cannot be read: " + err.Error()}
	case value != "0":
		return Finding{Name: name, Severity: Degraded,
			Detail: "net.mptcp.blackhole_timeout is " + value + ": after one lost handshake the kernel makes plain TCP of all MPTCP for so many seconds",
			Hint:   "sysctl net.mptcp.blackhole_timeout=0"}
	}
	return fine(name, "net.mptcp.blackhole_timeout is 0")
}

// checkJoinInitial matters on a server alone, whose address is the initial one.
func checkJoinInitial() Finding {
	const name = "join-initial-address"
	value, err := readSysctl("/proc/sys/net/mptcp/allow_join_initial_addr_port")
	if err == nil && value == "0" {
		return Finding{Name: name, Severity: Degraded,
			Detail: "net.mptcp.allow_join_initial_addr_port is 0: a server here refuses every further subflow",
			Hint:   "sysctl net.mptcp.allow_join_initial_addr_port=1"}
	}
	return fine(name, "a server here takes further subflows")
}
