package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctlPath turns a key as sysctl(8) prints it into a path under /proc/sys.
// In keys dots separate, and a dot of an interface's name is written as a
// slash: net.ipv4.conf.eth0/100.rp_filter.
func sysctlPath(key string) (string, error) {
	parts := strings.Split(key, ".")
	for i, p := range parts {
		p = strings.ReplaceAll(p, "/", ".")
		if p == "" || p == "." || p == ".." || strings.ContainsRune(p, 0) {
			return "", fmt.Errorf("setting %q: not a sysctl key", key)
		}
		parts[i] = p
	}
	return filepath.Join("/proc/sys", filepath.Join(parts...)), nil
}

// confKey is the key of a per-interface setting; the interface may be "all"
// or "default".
func confKey(family, device, name string) string {
	return "net." + family + ".conf." + strings.ReplaceAll(device, ".", "/") + "." + name
}

// readSysctl and writeSysctl work in the calling thread's network namespace:
// /proc/sys/net shows each thread its own.
func readSysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", key, err)
	}
	return strings.Join(strings.Fields(string(b)), " "), nil
}

func writeSysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(value+"\n"), 0); err != nil {
		return explain("write setting", err)
	}
	return nil
}

// missing reports that the kernel has no such setting, or no longer.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
