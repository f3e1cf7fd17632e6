package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"braid/config"
)

// lookupTimeout bounds one look at DNS before what is known must do.
const lookupTimeout = 3 * time.Second

// resolver turns the servers' names into addresses, in the order of the
// configuration. It asks past the tunnel, and when nobody answers it goes on
// with the addresses of the last time: while uplinks are failing over, DNS
// fails too.
type resolver struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// own names the nameservers that the host has beside ours; nil: none is known.
	own func() []netip.Addr
	ask func(ctx context.Context, host string, server netip.Addr) ([]netip.Addr, error)
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	names []config.HostPort
	known [][]netip.AddrPort // of each name
}

func newResolver(names []config.HostPort, log *slog.Logger) *resolver {
	r := &resolver{names: names, log: log, known: make([][]netip.AddrPort, len(names)), ask: askNameserver}
	r.lookup = r.askAll
	return r
}

// resolvers are whom the addresses of servers are asked of; none, when no server
// has a name.
func (r *resolver) resolvers() []netip.Addr {
	r.mu.Lock()
	named := slices.ContainsFunc(r.names, func(n config.HostPort) bool { _, ok := n.Addr(); return !ok })
	r.mu.Unlock()
	if !named || r.own == nil {
		return nil
	}
	return r.own()
}

// askAll asks the host's own nameservers, all at once: resolv.conf may name our own
// forwarder, or another stub, which need the tunnel to be up, and the nameserver of
// an uplink that is dead would be waited for longer than there is time.
func (r *resolver) askAll(ctx context.Context, host string) ([]netip.Addr, error) {
	var own []netip.Addr
	if r.own != nil {
		own = r.own()
	}
	if len(own) == 0 {
		return r.ask(ctx, host, netip.Addr{})
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type result struct {
		list []netip.Addr
		err  error
	}
	results := make(chan result, len(own))
	for _, server := range own {
		wg.Go(func() {
			list, err := r.ask(ctx, host, server)
			results <- result{list, err}
		})
	}
	var errs []error
	for range own {
		got := <-results
		if got.err == nil {
			return got.list, nil
		}
		errs = append(errs, got.err)
	}
	return nil, errors.Join(errs...)
}

// askNameserver asks a nameserver, or those of resolv.conf if it is not valid, beside
// the tunnel. It is Go's own resolver that does, because only its sockets can be
// marked.
func askNameserver(ctx context.Context, host string, server netip.Addr) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server.IsValid() {
			address = netip.AddrPortFrom(server, dnsPort).String()
		}
		d := net.Dialer{Control: setMark}
		return d.DialContext(ctx, network, address)
	}}
	return r.LookupNetIP(ctx, "ip", host)
}

// setNames changes the names, for the next look. What is known of those that stay
// is kept.
func (r *resolver) setNames(names []config.HostPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make([][]netip.AddrPort, len(names))
	for i, n := range names {
		if was := slices.Index(r.names, n); was >= 0 {
			known[i] = r.known[was]
		}
	}
	r.names, r.known = names, known
}

func setMark(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, carrierMark)
	}); cerr != nil {
		return cerr
	}
	return err
}

// addresses returns all addresses of all servers. The error is there only
// when nothing is known of any of them.
func (r *resolver) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	r.mu.Lock()
	names := r.names
	r.mu.Unlock()
	found := make([][]netip.AddrPort, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { found[i], errs[i] = r.resolve(ctx, n) })
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.names, names) { // others were set meanwhile: the caller asks again
		return nil, errors.New("the list of servers has just changed")
	}
	var all []netip.AddrPort
	for i := range names {
		if errs[i] == nil {
			r.known[i] = found[i]
		} else if len(r.known[i]) > 0 {
			r.log.Debug("server name not found, using its last addresses", "server", names[i].Host, "error", errs[i])
		}
		for _, a := range r.known[i] {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

func (r *resolver) resolve(ctx context.Context, n config.HostPort) ([]netip.AddrPort, error) {
	if a, ok := n.Addr(); ok {
		return []netip.AddrPort{netip.AddrPortFrom(a, n.Port)}, nil
	}
	addrs, err := r.lookup(ctx, n.Host)
	if err != nil {
		return nil, fmt.Errorf("find the address of %s: %w", n.Host, err)
	}
	var list []netip.AddrPort
	for _, a := range addrs {
		list = append(list, netip.AddrPortFrom(a.Unmap(), n.Port))
	}
	return list, nil
}

// siblings returns the server's other addresses, those of the same name first. All
// names are one server's, for there is one key.
func (r *resolver) siblings(a netip.AddrPort) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var same, others []netip.AddrPort
	for _, list := range r.known {
		if slices.Contains(list, a) {
			same = append(same, list...)
		} else {
			others = append(others, list...)
		}
	}
	if same == nil {
		return nil
	}
	var out []netip.AddrPort
	for _, b := range append(same, others...) {
		if b != a && !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	return out
}
