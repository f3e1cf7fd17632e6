package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ReversePathFilter is the IPv4 reverse path filter (rp_filter) of a host.
type ReversePathFilter int

// Loose is what Debian sets, and the hosts' default: a source must be reachable
// by some route. Strict asks for a route back by the same interface.
const (
	Loose ReversePathFilter = iota
	Strict
	Unfiltered
)

// sysctlPath takes net.ipv4.ip_forward and, for names with dots inside,
// net/ipv4/conf/eth0.1/rp_filter.
func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return "/proc/sys/" + key
}

// Sysctl reads a setting of the host, such as net.ipv4.ip_forward. Settings
// outside net belong to the whole machine.
func (h *Host) Sysctl(key string) (value string, err error) {
	err = h.Do(func() error {
		b, err := os.ReadFile(sysctlPath(key))
		value = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read sysctl %s in %s: %w", key, h.name, err)
	}
	return value, nil
}

// SetSysctl writes a setting of the host.
func (h *Host) SetSysctl(key, value string) error {
	err := h.Do(func() error {
		// Not os.WriteFile: where a file may not be created, asking for that
		// hides that it does not exist.
		f, err := os.OpenFile(sysctlPath(key), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("set sysctl %s=%s in %s: %w", key, value, h.name, err)
	}
	return nil
}

// setSysctl6 writes a setting of the host that a kernel without IPv6 neither has
// nor needs.
func (h *Host) setSysctl6(key, value string) error {
	if err := h.SetSysctl(key, value); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// SetForwarding lets the host forward IPv4 and IPv6, or not.
func (h *Host) SetForwarding(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	if err := h.SetSysctl("net.ipv4.ip_forward", value); err != nil {
		return err
	}
	return h.setSysctl6("net.ipv6.conf.all.forwarding", value)
}

// SetCongestionControl sets the host's default TCP congestion control, such as
// bbr or cubic; new hosts have the machine's. A host may have only what all
// users of the machine may choose, so an algorithm is added to that list, where
// it stays.
func (h *Host) SetCongestionControl(name string) error {
	err := h.SetSysctl("net.ipv4.tcp_congestion_control", name)
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	path := sysctlPath("net.ipv4.tcp_allowed_congestion_control")
	allowed, reading := os.ReadFile(path)
	if reading != nil {
		return errors.Join(err, reading)
	}
	list := strings.TrimSpace(string(allowed)) + " " + name
	if writing := os.WriteFile(path, []byte(list), 0); writing != nil {
		return errors.Join(err, writing)
	}
	return h.SetSysctl("net.ipv4.tcp_congestion_control", name)
}

// SetReversePathFilter sets rp_filter for the host's present and later
// interfaces.
func (h *Host) SetReversePathFilter(f ReversePathFilter) error {
	value := strconv.Itoa(map[ReversePathFilter]int{Loose: 2, Strict: 1, Unfiltered: 0}[f])
	// The kernel takes the larger of "all" and the interface's own.
	if err := h.SetSysctl("net/ipv4/conf/all/rp_filter", "0"); err != nil {
		return err
	}
	if err := h.SetSysctl("net/ipv4/conf/default/rp_filter", value); err != nil {
		return err
	}
	names, err := h.Interfaces()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := h.SetSysctl("net/ipv4/conf/"+name+"/rp_filter", value); err != nil {
			return err
		}
	}
	return nil
}
