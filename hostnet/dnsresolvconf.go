package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// resolvconf(8) collects nameservers by interface and makes /etc/resolv.conf of
// them. There are two: Debian's, which orders them by the names in
// /etc/resolvconf/interface-order, and openresolv, which has flags. As "lo.DEVICE",
// and a loopback address, ours go first with the one and hide the others with both.

// resolvconfPatience bounds one run of it: it runs scripts of other packages.
const resolvconfPatience = 10 * time.Second

func resolvconfName(device string) string { return "lo." + device }

// madeByResolvconf reports whether resolvconf makes a file.
func madeByResolvconf(f resolvState) bool {
	path, err := exec.LookPath("resolvconf")
	if err != nil {
		return false
	}
	// systemd has a program of that name, which is another thing.
	if real, err := filepath.EvalSymlinks(path); err == nil && filepath.Base(real) == "resolvectl" {
		return false
	}
	first, _, _ := strings.Cut(f.theirs, "\n")
	return strings.Contains(f.target, "/resolvconf/") || strings.Contains(first, "resolvconf")
}

// resolvconfRecords are what resolvconf was told by interface: Debian's, openresolv's
// and, of late, openresolv's again.
var resolvconfRecords = []string{"/run/resolvconf/interface", "/run/resolvconf/interfaces", "/run/resolvconf/keys"}

// resolvconfDNS is what resolvconf has from us and uses: others may have been told
// since, and go first.
func resolvconfDNS(device string, used []netip.Addr) []netip.Addr {
	set := resolvconfRecord(device)
	if len(used) == 0 || !slices.Contains(set, used[0]) {
		return nil
	}
	return set
}

// resolvconfRecord is what resolvconf has from us.
func resolvconfRecord(device string) []netip.Addr {
	for _, dir := range resolvconfRecords {
		if set := nameserversOf(filepath.Join(dir, resolvconfName(device))); len(set) > 0 {
			return set
		}
	}
	return nil
}

// resolvconfOwn is what resolvconf has from others.
func resolvconfOwn(device string) []netip.Addr {
	var out []netip.Addr
	for _, dir := range resolvconfRecords {
		entries, _ := os.ReadDir(dir) // at most one of them exists
		for _, e := range entries {
			if e.Name() != resolvconfName(device) {
				out = append(out, nameserversOf(filepath.Join(dir, e.Name()))...)
			}
		}
	}
	return out
}

// setResolvconfDNS tells resolvconf.
func setResolvconfDNS(device string, servers []netip.Addr, remove bool) error {
	name := resolvconfName(device)
	if remove {
		if resolvconfRecord(device) == nil {
			return nil
		}
		return runResolvconf("", "-d", name)
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %v\n", s)
	}
	// -x and -m 0 are openresolv's, against those that others set first.
	if err := runResolvconf(b.String(), "-m", "0", "-x", "-a", name); err == nil {
		return nil
	}
	return runResolvconf(b.String(), "-a", name)
}

func runResolvconf(input string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), resolvconfPatience)
	defer cancel()
	c := exec.CommandContext(ctx, "resolvconf", args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("resolvconf %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
