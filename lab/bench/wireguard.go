package main

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"braid/lab"
	"braid/lab/topology"
)

// wireguardTunnel is wireguard-go over the first uplink: it has no bonding.
type wireguardTunnel struct {
	program   string
	processes []*lab.Process
}

func (*wireguardTunnel) name() string { return "wireguard-go" }

const wireguardPort = 51820

var (
	wgServer = netip.MustParsePrefix("10.78.0.1/24")
	wgClient = netip.MustParsePrefix("10.78.0.2/24")
)

func (w *wireguardTunnel) start(ctx context.Context, n *topology.Net, _ string) error {
	w.processes = nil
	serverKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	clientKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	server := fmt.Sprintf("private_key=%x\nlisten_port=%d\npublic_key=%x\nallowed_ip=%v/32\n",
		serverKey.Bytes(), wireguardPort, clientKey.PublicKey().Bytes(), wgClient.Addr())
	client := fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=%v:%d\nallowed_ip=%v/32\n",
		clientKey.Bytes(), serverKey.PublicKey().Bytes(), n.ServerAddr4, wireguardPort, wgServer.Addr())
	if err := w.run(ctx, n.Server, "wgbenchs", wgServer, server); err != nil {
		return err
	}
	return w.run(ctx, n.Client, "wgbenchc", wgClient, client)
}

// run runs wireguard-go in a host and configures it through its own socket.
func (w *wireguardTunnel) run(ctx context.Context, h *lab.Host, device string, addr netip.Prefix, config string) error {
	p, err := h.Start(context.WithoutCancel(ctx), exec.Command(w.program, "-f", device))
	if err != nil {
		return err
	}
	w.processes = append(w.processes, p)
	socket := filepath.Join("/var/run/wireguard", device+".sock")
	for {
		err := configureWireguard(socket, config)
		if err == nil {
			break
		}
		select {
		case <-p.Done():
			return fmt.Errorf("start wireguard-go: it ended: %s", p.Output())
		case <-ctx.Done():
			return fmt.Errorf("start wireguard-go: %w (%w): %s", ctx.Err(), err, p.Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := h.AddAddress(device, addr); err != nil {
		return err
	}
	return h.SetUp(device)
}

// configureWireguard speaks WireGuard's cross-platform user space protocol.
func configureWireguard(socket, config string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "set=1\n%s\n", config); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "errno=0" {
		return fmt.Errorf("configure wireguard-go: %s", strings.TrimSpace(answer))
	}
	return nil
}

func (w *wireguardTunnel) target(*topology.Net) (netip.Addr, bool) { return wgServer.Addr(), false }

// daemons: the server was started first.
func (w *wireguardTunnel) daemons() pids {
	return pids{client: w.processes[1].PID(), server: w.processes[0].PID()}
}

func (w *wireguardTunnel) stop() error {
	var errs []error
	for _, p := range w.processes {
		errs = append(errs, p.Stop(5*time.Second))
	}
	return errors.Join(errs...)
}
