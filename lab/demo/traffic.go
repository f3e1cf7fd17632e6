package demo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"braid/lab"
	"braid/lab/probe"
	"braid/lab/topology"
)

// download is curl in the client's host, its output hashed and metered.
type download struct {
	meter *probe.Meter
	hash  hash.Hash
	done  chan struct{} // closed when curl has ended
	err   error         // of curl, set before
}

func startDownload(ctx context.Context, net *topology.Net, url string) (*download, error) {
	d := &download{meter: probe.NewMeter(), hash: sha256.New(), done: make(chan struct{})}
	c := exec.Command("curl", "-sS", "--fail", url)
	c.Stdout = io.MultiWriter(d.meter, d.hash)
	p, err := net.Client.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(d.done)
		d.err = p.Wait(context.Background()) // the context ends curl itself
	}()
	return d, nil
}

// sum is the hash of what has arrived, once done is closed.
func (d *download) sum() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// counter is an ssh session that prints a number every 200 ms.
type counter struct {
	server  *probe.SSHServer
	process *lab.Process
	once    sync.Once

	mu      sync.Mutex // guards what follows
	next    int        // the number to come
	broken  string     // the first line that was not it
	last    time.Time
	longest time.Duration // between two lines
	alive   bool          // when it was stopped
}

const countEvery = 200 * time.Millisecond

func startCounter(ctx context.Context, net *topology.Net, dir string) (*counter, error) {
	server, err := probe.StartSSHD(ctx, net.Internet, netip.AddrPortFrom(net.InternetAddr4, 22), dir)
	if err != nil {
		return nil, err
	}
	c := &counter{server: server, next: 1}
	cmd := server.Command(net.InternetAddr4,
		fmt.Sprintf("i=0; while :; do i=$((i+1)); echo $i; sleep %.1f; done", countEvery.Seconds()))
	lines, w := io.Pipe()
	cmd.Stdout = w
	if c.process, err = net.Client.Start(ctx, cmd); err != nil {
		return nil, err
	}
	first := make(chan struct{})
	go c.read(lines, first)
	go func() { <-c.process.Done(); w.Close() }()
	select {
	case <-first:
		return c, nil
	case <-c.process.Done():
	case <-time.After(20 * time.Second):
		c.process.Kill()
	}
	return nil, fmt.Errorf("start ssh session: it printed nothing; sshd: %s", server.Log())
}

// read takes the lines as they come, until the session ends.
func (c *counter) read(r io.Reader, first chan<- struct{}) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		c.mu.Lock()
		now := time.Now()
		if c.next == 1 {
			close(first)
		} else {
			c.longest = max(c.longest, now.Sub(c.last))
		}
		if s.Text() != strconv.Itoa(c.next) && c.broken == "" {
			c.broken = strings.ToValidUTF8(s.Text(), "?")
		}
		c.next++
		c.last = now
		c.mu.Unlock()
	}
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next - 1
}

// stop ends the session and notes whether it was still alive.
func (c *counter) stop() {
	c.once.Do(func() {
		c.mu.Lock()
		select {
		case <-c.process.Done():
		default:
			c.alive = c.broken == ""
			c.longest = max(c.longest, time.Since(c.last))
		}
		c.mu.Unlock()
		c.process.Kill()
		_ = c.server.Close() // the lab ends what is left
	})
}
