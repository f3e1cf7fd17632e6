package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpu is processor time used so far.
type cpu struct {
	host           time.Duration // of all processors, whatever for
	client, server time.Duration // of the daemons
}

func (c cpu) since(before cpu) cpu {
	return cpu{c.host - before.host, c.client - before.client, c.server - before.server}
}

// tick is the unit of both files below: 1/USER_HZ, which Linux fixes at 1/100 s.
const tick = 10 * time.Millisecond

// readCPU reads the kernel's accounts; what cannot be read counts as nothing.
func readCPU(p pids) cpu {
	c := cpu{client: processCPU(p.client), server: processCPU(p.server)}
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		first, _, _ := strings.Cut(string(b), "\n")
		// cpu user nice system idle iowait irq softirq steal …
		for i, f := range strings.Fields(first) {
			if i == 4 || i == 5 || i == 0 || i > 7 {
				continue
			}
			c.host += ticks(f)
		}
	}
	return c
}

func processCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in the second field may hold anything: count from its end.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) <= 12 {
		return 0
	}
	return ticks(f[11]) + ticks(f[12]) // utime, stime
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * tick
}
