package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

// space is a network namespace of its own, and the thread that lives in it.
type space struct {
	t    *testing.T
	work chan func()
	tid  int
}

// newSpace makes a namespace in which lo is up. It goes with the test.
func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{t: t, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		s.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	t.Cleanup(func() { close(s.work) })
	if err := <-ready; err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	// Without address checks and routers, nothing changes by itself.
	s.ip("link set lo up")
	for _, which := range []string{"all", "default"} {
		s.sysctl("net.ipv6.conf."+which+".accept_dad", "0")
	}
	return s
}

// do calls f on the namespace's thread.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// ip runs commands of ip(8), one a line.
func (s *space) ip(commands string) {
	s.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(commands), "\n") {
		s.run("ip", strings.Fields(line)...)
	}
}

// batch runs many commands of ip(8) in one process.
func (s *space) batch(commands string) {
	s.t.Helper()
	c := exec.Command("ip", "-batch", "-")
	c.Stdin = strings.NewReader(commands)
	var out []byte
	var err error
	if s.do(func() { out, err = c.CombinedOutput() }); err != nil {
		s.t.Fatalf("ip -batch: %v\n%s", err, out)
	}
}

func (s *space) run(name string, args ...string) string {
	s.t.Helper()
	var out []byte
	var err error
	s.do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *space) sysctl(key, value string) {
	s.t.Helper()
	var err error
	if s.do(func() { err = writeSysctl(key, value) }); err != nil {
		s.t.Fatal(err)
	}
}

// veth joins an interface here with one of another namespace; both are up.
func (s *space) veth(name string, other *space, otherName string) {
	s.t.Helper()
	s.ip(fmt.Sprintf("link add %s type veth peer name %s netns %d\nlink set %s up", name, otherName, other.tid, name))
	other.ip("link set " + otherName + " up")
}

// host opens the namespace as a Host; it is used from other threads.
func (s *space) host() *Kernel {
	s.t.Helper()
	var k *Kernel
	var err error
	if s.do(func() { k, err = OpenHost() }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { k.Close() })
	return k
}

// tun creates a TUN device that lives as long as the file.
func (s *space) tun(name string) *os.File {
	s.t.Helper()
	var f *os.File
	var err error
	if s.do(func() { f, err = createTUN(name) }); err != nil {
		s.t.Skipf("no TUN device: %v", err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

func createTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// udp opens a socket in the namespace; a mark of 0 is none.
func (s *space) udp(local string, mark int) *net.UDPConn {
	s.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			if mark != 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
			}
		}), err)
	}}
	var c net.PacketConn
	var err error
	if s.do(func() { c, err = config.ListenPacket(s.t.Context(), "udp", local) }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.UDPConn)
}

// echo answers each packet with its sender's address as seen here.
func (s *space) echo(local string) {
	s.t.Helper()
	c := s.udp(local, 0)
	go func() {
		buf := make([]byte, 2000)
		for {
			_, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			c.WriteToUDPAddrPort([]byte(from.Addr().String()), from)
		}
	}()
}

// routeTo is the interface that "ip route get" names for a destination and
// the further words.
func (s *space) routeTo(words string) string {
	s.t.Helper()
	fields := strings.Fields(s.run("ip", append([]string{"route", "get"}, strings.Fields(words)...)...))
	if i := slices.Index(fields, "dev"); i >= 0 {
		return fields[i+1]
	}
	s.t.Fatalf("ip route get %s: %v", words, fields)
	return ""
}

// unimportant is what a device keeps of having been up.
var unimportant = regexp.MustCompile(` qdisc \S+`)

// snapshot is all of the namespace's network that is not traffic. The
// TUN's addr_gen_mode is not in it, which goes with the TUN.
func (s *space) snapshot() string {
	s.t.Helper()
	// The kernel's worker takes new addresses of IPv6 for tentative until it gets to
	// them, also without address checks.
	for end := time.Now().Add(2 * time.Second); s.run("ip", "-6", "-o", "addr", "show", "tentative") != "" && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	var b strings.Builder
	for _, command := range []string{
		"ip -o link", "ip -o addr", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all", "nft list ruleset",
	} {
		words := strings.Fields(command)
		fmt.Fprintf(&b, "# %s\n%s", command, unimportant.ReplaceAllString(s.run(words[0], words[1:]...), ""))
	}
	s.do(func() {
		for _, dir := range []string{"ipv4", "ipv6", "mptcp"} {
			filepath.WalkDir("/proc/sys/net/"+dir, func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() && !strings.HasSuffix(path, "braid0/addr_gen_mode") {
					if v, err := os.ReadFile(path); err == nil {
						fmt.Fprintf(&b, "%s = %s\n", path, strings.TrimSpace(string(v)))
					}
				}
				return nil
			})
		}
	})
	return b.String()
}

// mustBeAsBefore compares with an earlier snapshot; the kernel may need a
// moment to tear things down.
func (s *space) mustBeAsBefore(before string) {
	s.t.Helper()
	var diff string
	eventually(s.t, func() bool {
		diff = difference(s.snapshot(), before)
		return diff == ""
	}, func() string { return "the host is not as before:\n" + diff })
}

func eventually(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(why())
		}
	}
}
