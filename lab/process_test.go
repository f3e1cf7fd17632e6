package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func sh(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

// running tells whether a process exists and is no zombie.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := string(b[strings.LastIndexByte(string(b), ')')+2])
	return state != "Z" && state != "X"
}

func TestRun(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	out, err := h.Run(t.Context(), "sh", "-c", "echo out; echo err >&2; cat /proc/self/net/dev | grep -c :")
	if err != nil || string(out) != "out\nerr\n1\n" {
		t.Errorf("got %q (%v)", out, err)
	}
	out, err = h.Run(t.Context(), "sh", "-c", "echo why; exit 3")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "why\n" || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %q, %v; want exit code 3", out, err)
	}
	if _, err = h.Run(t.Context(), "no-such-program"); err == nil {
		t.Error("an unknown program ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
	defer cancel()
	begin := time.Now()
	_, err = h.Run(ctx, "sh", "-c", "sleep 100; true")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestWaitForText(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	p, err := h.Start(t.Context(), sh("echo one; sleep 0.05; echo two; read x; echo never"))
	check(t, err)
	check(t, p.WaitForText("one\ntwo", 5*time.Second))
	if err := p.WaitForText("three", 10*ms); err == nil {
		t.Error("found a text that was not written")
	}
	<-p.Done() // its input is empty
	err = p.WaitForText("three", time.Hour)
	if err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("waiting for an ended process: %v", err)
	}
	check(t, p.WaitForText("never", time.Hour))
}

func TestStop(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	p, err := h.Start(t.Context(), sh("trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done"))
	check(t, err)
	check(t, p.WaitForText("ready", 5*time.Second))
	check(t, p.Stop(5*time.Second))
	var exit *exec.ExitError
	if err := p.Wait(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("ended with %v, want exit code 4", err)
	}
	check(t, p.Stop(time.Second)) // again
	check(t, p.Signal(syscall.SIGHUP))

	p, err = h.Start(t.Context(), sh("trap '' TERM; echo ready; while :; do sleep 0.01; done"))
	check(t, err)
	check(t, p.WaitForText("ready", 5*time.Second))
	if err := p.Stop(50 * ms); err == nil {
		t.Error("stopping a stubborn process was no error")
	}
	if running(p.PID()) {
		t.Error("a stubborn process is still there")
	}
}

func TestContextKillsGroup(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	ctx, cancel := context.WithCancel(t.Context())
	p, err := h.Start(ctx, sh("sleep 1000 & echo pid $! .; wait"))
	check(t, err)
	check(t, p.WaitForText(" .\n", 5*time.Second))
	var child int
	_, err = fmt.Sscanf(string(p.Output()), "pid %d", &child)
	check(t, err)
	cancel()
	<-p.Done()
	eventually(t, "child is dead", time.Second, func() bool { return !running(child) })
}

func TestCloseKillsDaemons(t *testing.T) {
	l := newLab(t)
	h := newHost(t, l, "a")
	out, err := h.Run(t.Context(), "sh", "-c", daemonScript)
	check(t, err)
	daemon, err := strconv.Atoi(strings.TrimSpace(string(out)))
	check(t, err)
	if !running(daemon) {
		t.Fatal("there is no daemon")
	}
	check(t, l.Close())
	if running(daemon) {
		t.Error("the daemon outlived the lab")
	}
}

// daemonScript starts a process in a session of its own, which no signal for
// its parent or group reaches, and prints its number.
const daemonScript = `setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!`

// ownerVariable makes the test's program the owner of a lab, which is to be
// killed. Its value is a directory.
const ownerVariable = "BRAID_LAB_TEST_OWNER"

// ownLab builds a lab, prints the processes in it and waits to be killed.
func ownLab() int {
	pids, err := func() ([]int, error) {
		l, err := lab.New("owned")
		if err != nil {
			return nil, err
		}
		a, err := l.Host("a")
		if err != nil {
			return nil, err
		}
		b, err := l.Host("b")
		if err != nil {
			return nil, err
		}
		if _, err := l.Link(a, "tap", b, "tap", lab.LinkConfig{}); err != nil {
			return nil, err
		}
		p, err := a.Start(context.Background(), exec.Command("sleep", "1000"))
		if err != nil {
			return nil, err
		}
		out, err := b.Run(context.Background(), "sh", "-c", daemonScript)
		if err != nil {
			return nil, err
		}
		daemon, err := strconv.Atoi(strings.TrimSpace(string(out)))
		return []int{p.PID(), daemon}, err
	}()
	fmt.Println(pids, err)
	time.Sleep(time.Hour)
	return 1
}

// inNamespace lists the processes in a network namespace, given as the link in
// /proc reads.
func inNamespace(namespace string) (pids []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == namespace {
			pids = append(pids, link)
		}
	}
	return pids
}

func TestOwnerIsKilled(t *testing.T) {
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	check(t, err)
	owner := exec.Command(self)
	owner.Env = append(os.Environ(), ownerVariable+"=1")
	owner.Stderr = os.Stderr
	stdout, err := owner.StdoutPipe()
	check(t, err)
	check(t, owner.Start())
	defer func() { _ = owner.Process.Kill(); _ = owner.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	check(t, err)
	var child, daemon int
	if _, err := fmt.Sscanf(line, "[%d %d] <nil>", &child, &daemon); err != nil {
		t.Fatalf("the owner says %q", line)
	}
	var namespaces []string
	for _, pid := range []int{child, daemon} {
		namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		check(t, err)
		namespaces = append(namespaces, namespace)
	}
	check(t, owner.Process.Kill())
	for i, pid := range []int{child, daemon} {
		eventually(t, fmt.Sprintf("process %d is dead", i), 10*time.Second, func() bool { return !running(pid) })
		eventually(t, "the namespace is empty", 10*time.Second, func() bool { return len(inNamespace(namespaces[i])) == 0 })
	}
}
