package mptcp

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// counterTitle begins the two lines of MPTCP's counters in /proc/net/netstat: one
// with the names, one with the values.
const counterTitle = "MPTcpExt:"

// Counters reads what the kernel counts of MPTCP in the network namespace of the
// calling thread, by the names that nstat(8) prints behind MPTcpExt. A kernel
// lacks those that are newer than itself.
func Counters() (map[string]uint64, error) {
	f, err := os.Open("/proc/thread-self/net/netstat")
	if err != nil {
		return nil, fmt.Errorf("read MPTCP's counters: %w", err)
	}
	defer f.Close()
	return parseCounters(f)
}

func parseCounters(r io.Reader) (map[string]uint64, error) {
	counters := make(map[string]uint64)
	var names []string
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		rest, ours := strings.CutPrefix(s.Text(), counterTitle)
		switch fields := strings.Fields(rest); {
		case !ours:
		case names == nil:
			names = fields
		default:
			for i := range min(len(names), len(fields)) {
				if n, err := strconv.ParseUint(fields[i], 10, 64); err == nil {
					counters[names[i]] = n
				}
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read MPTCP's counters: %w", err)
	}
	return counters, nil
}
