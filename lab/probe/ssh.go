package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"braid/lab"
)

// SSHServer is a real sshd in a host that lets root in with a key of its own
// making.
type SSHServer struct {
	process *lab.Process
	dir     string
	port    uint16
}

// separationDir is where Debian's sshd insists on an empty directory.
const separationDir = "/run/sshd"

// sshdStart is ample for sshd to listen.
const sshdStart = 10 * time.Second

// StartSSHD generates keys in an existing directory (such as t.TempDir()) and
// runs sshd in a host until Close, or until the context ends.
func StartSSHD(ctx context.Context, h *lab.Host, address netip.AddrPort, dir string) (*SSHServer, error) {
	s := &SSHServer{dir: dir, port: address.Port()}
	if err := s.start(ctx, h, address); err != nil {
		return nil, fmt.Errorf("start sshd in %s: %w", h.Name(), err)
	}
	return s, nil
}

func (s *SSHServer) start(ctx context.Context, h *lab.Host, address netip.AddrPort) error {
	program, err := exec.LookPath("sshd") // it refuses to run by a relative path
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			return fmt.Errorf("%w (install openssh-server)", err)
		}
	}
	if err := os.MkdirAll(separationDir, 0o755); err != nil {
		return err
	}
	for _, key := range []string{"host", "user"} {
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", s.file(key)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	hostKey, err := os.ReadFile(s.file("host.pub"))
	if err != nil {
		return err
	}
	// The one key is good for whatever address it is asked for at.
	if err := os.WriteFile(s.file("known_hosts"), []byte("* "+string(hostKey)), 0o600); err != nil {
		return err
	}
	config := strings.Join([]string{
		"ListenAddress " + address.String(),
		"HostKey " + s.file("host"),
		"AuthorizedKeysFile " + s.file("user.pub"),
		"PermitRootLogin yes",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"UsePAM no",
		"StrictModes no", // the directory may be below /tmp
		"PidFile none",
		"UseDNS no",
		"Subsystem sftp internal-sftp",
	}, "\n") + "\n"
	if err := os.WriteFile(s.file("sshd_config"), []byte(config), 0o600); err != nil {
		return err
	}
	if s.process, err = h.Start(ctx, exec.Command(program, "-D", "-e", "-f", s.file("sshd_config"))); err != nil {
		return err
	}
	if err := s.process.WaitForText("Server listening on", sshdStart); err != nil {
		s.process.Kill()
		return err
	}
	return nil
}

func (s *SSHServer) file(name string) string { return filepath.Join(s.dir, name) }

// Command returns an ssh command that logs in at an address, for Start in
// another host: the server's port there, its key, no questions asked. Without
// arguments it is a shell reading standard input.
func (s *SSHServer) Command(at netip.Addr, command ...string) *exec.Cmd {
	args := []string{"-F", "none", "-p", strconv.Itoa(int(s.port)), "-i", s.file("user")}
	for _, o := range []string{
		"UserKnownHostsFile=" + s.file("known_hosts"),
		"GlobalKnownHostsFile=none",
		"StrictHostKeyChecking=yes",
		"IdentitiesOnly=yes",
		"BatchMode=yes",
		"LogLevel=ERROR",
	} {
		args = append(args, "-o", o)
	}
	return exec.Command("ssh", append(append(args, "root@"+at.String()), command...)...)
}

// Log returns what sshd has written.
func (s *SSHServer) Log() []byte { return s.process.Output() }

// Close ends sshd; sessions that are open end with their connections, or with
// the lab.
func (s *SSHServer) Close() error { return s.process.Stop(5 * time.Second) }
