package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// Programs as people use them, from the client to a host on the internet.
func TestRealClients(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	sshd, err := probe.StartSSHD(w.ctx, w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 22), w.TempDir())
	w.must(err)
	for _, test := range []struct {
		name string
		run  func(*world, *probe.SSHServer)
	}{
		{"curl", useCurl}, {"wget", useWget}, {"ssh", useSSH}, {"git over ssh", useGitSSH}, {"git over http", useGitHTTP},
		{"rsync", useRsync}, {"websocket", useWebSocket}, {"chromium", useChromium},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(w.in(t), sshd) })
	}
}

// in is the same world for a subtest.
func (w *world) in(t *testing.T) *world {
	sub := *w
	sub.T = t
	return &sub
}

// command runs a command in a host, which must succeed, and returns its output.
func (w *world) command(h *lab.Host, c *exec.Cmd) string {
	w.Helper()
	p, err := h.Start(w.ctx, c)
	w.must(err)
	if err := p.Wait(w.patient()); err != nil {
		p.Kill()
		w.Fatalf("%s in %s: %v: %s", strings.Join(c.Args, " "), h.Name(), err, p.Output())
	}
	return string(p.Output())
}

// file writes n bytes of content to a new file.
func (w *world) file(n int64) string {
	w.Helper()
	b, err := io.ReadAll(probe.Content(n))
	w.must(err)
	path := filepath.Join(w.TempDir(), "content")
	w.must(os.WriteFile(path, b, 0o600))
	return path
}

// Two files on one connection, and an upload.
func useCurl(w *world, _ *probe.SSHServer) {
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	defer s.Close()
	dir := w.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	out := w.run(w.Net.Client, "curl", "-sS", "--fail", "--max-time", "60", "-w", "%{num_connects}\n",
		"-o", one, s.URL(w.Net.InternetAddr4, 3_000_000), "-o", two, s.URL(w.Net.InternetAddr4, 1_000_001))
	w.verify(one, 3_000_000)
	w.verify(two, 1_000_001)
	if out != "1\n0\n" {
		w.Errorf("connections made: %q, want one for both", out)
	}
	const n = 2_000_000
	out = w.run(w.Net.Client, "curl", "-sS", "--fail", "--max-time", "60", "-T", w.file(n), s.URL(w.Net.InternetAddr4, 0))
	if want := fmt.Sprintln(n, probe.SHA256(n)); out != want {
		w.Errorf("uploaded %q, want %q", out, want)
	}
}

func useWget(w *world, _ *probe.SSHServer) {
	for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
		s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(at, 0).String())
		w.must(err)
		file := filepath.Join(w.TempDir(), "file")
		w.run(w.Net.Client, "wget", "-q", "--tries=1", "--timeout=30", "-O", file, s.URL(at, 2_000_000))
		w.verify(file, 2_000_000)
		w.must(s.Close())
	}
}

// A session that says nothing for a while goes on.
func useSSH(w *world, sshd *probe.SSHServer) {
	idle := 3 * time.Second
	if long() {
		idle = 3 * time.Minute
	}
	c := sshd.Command(w.Net.InternetAddr4, "cat")
	in, err := c.StdinPipe()
	w.must(err)
	p, err := w.Net.Client.Start(w.ctx, c)
	w.must(err)
	for _, text := range []string{"before\n", "after\n"} {
		_, err := io.WriteString(in, text)
		w.must(err)
		w.must(p.WaitForText(text, patience))
		if text == "before\n" {
			time.Sleep(idle)
		}
	}
	w.must(in.Close())
	w.must(p.Wait(w.patient()))
}

// sshCommand is how other programs are to call ssh.
func sshCommand(w *world, sshd *probe.SSHServer) string {
	args := sshd.Command(w.Net.InternetAddr4).Args
	return strings.Join(args[:len(args)-1], " ") // without the host
}

// gitCommand runs git with nothing of this machine's configuration.
func gitCommand(dir string, env []string, args ...string) *exec.Cmd {
	c := exec.Command("git", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), append(env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=lab", "GIT_AUTHOR_EMAIL=lab@example.net", "GIT_COMMITTER_NAME=lab", "GIT_COMMITTER_EMAIL=lab@example.net")...)
	return c
}

// newRepository makes a bare repository with some files, and returns the folder
// it is in and the commit.
func newRepository(w *world) (dir, commit string) {
	dir = w.TempDir()
	git := func(in string, args ...string) string { return w.command(w.Net.Internet, gitCommand(in, nil, args...)) }
	git(dir, "init", "-q", "-b", "main", "work")
	work := filepath.Join(dir, "work")
	b, err := os.ReadFile(w.file(2_000_000))
	w.must(err)
	w.must(os.WriteFile(filepath.Join(work, "content"), b, 0o600))
	for i := range 200 {
		w.must(os.WriteFile(filepath.Join(work, "file"+strconv.Itoa(i)), fmt.Appendf(nil, "file %d\n", i), 0o600))
	}
	git(work, "add", ".")
	git(work, "commit", "-q", "-m", "content")
	git(dir, "clone", "-q", "--bare", "work", "repository.git")
	return dir, git(work, "rev-parse", "HEAD")
}

// clone clones with git in the client's host, checks what came, and pushes.
func clone(w *world, url, commit string, env ...string) {
	w.Helper()
	dir := w.TempDir()
	git := func(in string, args ...string) string { return w.command(w.Net.Client, gitCommand(in, env, args...)) }
	git(dir, "clone", "-q", url, "copy")
	copied := filepath.Join(dir, "copy")
	if got := git(copied, "rev-parse", "HEAD"); got != commit {
		w.Errorf("cloned %s, want %s", got, commit)
	}
	git(copied, "fsck", "--full")
	w.verify(filepath.Join(copied, "content"), 2_000_000)
	git(copied, "commit", "-q", "--allow-empty", "-m", "back")
	git(copied, "push", "-q", "origin", "HEAD:back")
}

func useGitSSH(w *world, sshd *probe.SSHServer) {
	dir, commit := newRepository(w)
	clone(w, fmt.Sprintf("ssh://root@%v%s/repository.git", w.Net.InternetAddr4, dir), commit, "GIT_SSH_COMMAND="+sshCommand(w, sshd))
}

func useGitHTTP(w *world, _ *probe.SSHServer) {
	dir, commit := newRepository(w)
	w.command(w.Net.Internet, gitCommand(filepath.Join(dir, "repository.git"), nil, "config", "http.receivepack", "true"))
	where := strings.TrimSpace(w.command(w.Net.Internet, gitCommand(dir, nil, "--exec-path")))
	at := w.serveHTTP(&cgi.Handler{Path: filepath.Join(where, "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}})
	clone(w, fmt.Sprintf("http://%v/repository.git", at), commit)
}

// serveHTTP serves at the internet host until the subtest ends.
func (w *world) serveHTTP(h http.Handler) netip.AddrPort {
	w.Helper()
	l, err := w.Net.Internet.Listen(w.ctx, "tcp", netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	s := &http.Server{Handler: h}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	w.Cleanup(func() {
		s.Close()
		<-ended
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// A folder there and back.
func useRsync(w *world, sshd *probe.SSHServer) {
	from, there, back := w.TempDir(), filepath.Join(w.TempDir(), "there"), filepath.Join(w.TempDir(), "back")
	b, err := os.ReadFile(w.file(100_000))
	w.must(err)
	for i := range 50 {
		w.must(os.WriteFile(filepath.Join(from, strconv.Itoa(i)), b[:i*2000], 0o600))
	}
	remote := fmt.Sprintf("root@%v:%s/", w.Net.InternetAddr4, there)
	w.run(w.Net.Client, "rsync", "-a", "-e", sshCommand(w, sshd), from+"/", remote)
	w.run(w.Net.Client, "rsync", "-a", "-e", sshCommand(w, sshd), remote, back+"/")
	w.run(w.Net.Client, "diff", "-r", from, back)
}

func useWebSocket(w *world, _ *probe.SSHServer) {
	at := w.serveHTTP(websocket.Handler(func(c *websocket.Conn) {
		for {
			var b []byte
			if websocket.Message.Receive(c, &b) != nil || websocket.Message.Send(c, b) != nil {
				return
			}
		}
	}))
	config, err := websocket.NewConfig(fmt.Sprintf("ws://%v/", at), fmt.Sprintf("http://%v/", at))
	w.must(err)
	conn, err := w.Net.Client.DialContext(w.ctx, "tcp", at.String())
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(patience)))
	c, err := websocket.NewClient(config, conn)
	w.must(err)
	content, err := io.ReadAll(probe.Content(200_000))
	w.must(err)
	for size := 1; size < len(content); size *= 3 {
		w.must(websocket.Message.Send(c, content[:size]))
		var b []byte
		w.must(websocket.Message.Receive(c, &b))
		if !bytes.Equal(b, content[:size]) {
			w.Fatalf("a message of %d bytes came back as another, of %d", size, len(b))
		}
	}
	w.must(c.Close())
}

// pageObjects is more than a browser asks for at once from one server.
const pageObjects = 100

// A page with many objects, in a browser that counts those that it could show.
func useChromium(w *world, _ *probe.SSHServer) {
	program, err := exec.LookPath("chromium")
	w.must(err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprint(rw, "<!doctype html><title>objects</title><body>")
		for i := range pageObjects {
			fmt.Fprintf(rw, "<img src=/object/%d.svg>\n", i)
		}
		fmt.Fprint(rw, `<script>onload = () => document.body.dataset.shown = [...document.images].filter(i => i.naturalWidth == 7).length</script>`)
	})
	mux.HandleFunc("GET /object/{name}", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprintf(rw, `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><!-- %s %s --></svg>`, r.PathValue("name"), strings.Repeat("x", 10_000))
	})
	at := w.serveHTTP(mux)
	began := time.Now()
	out := w.run(w.Net.Client, "timeout", "60", program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--user-data-dir="+w.TempDir(), "--dump-dom", fmt.Sprintf("http://%v/", at))
	if !strings.Contains(out, fmt.Sprintf(`data-shown="%d"`, pageObjects)) {
		w.Errorf("the browser did not show all %d objects:\n%s", pageObjects, out)
	}
	w.Logf("%d objects after %v, the browser's start included", pageObjects, time.Since(began).Round(time.Millisecond))
}
