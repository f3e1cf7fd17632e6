package lab

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// keeper is a small shell in the host's namespace that waits for the end of its
// input, which comes when the host is closed or this process dies in any way.
// Then it kills every process that is left in the namespace: grandchildren and
// daemons, which neither the parent-death signal nor a process group reaches.
// Being in the namespace itself, it keeps the kernel from giving the
// namespace's identity to another before it is done.
type keeper struct {
	command *exec.Cmd
	input   io.Closer
}

// keeperScript sweeps until a sweep finds nothing; -ef compares the namespaces
// without starting a process for each.
const keeperScript = `
trap '' HUP INT TERM
read -r _
sweeps=0
while [ $sweeps -lt 200 ]; do
	sweeps=$((sweeps + 1))
	found=
	for p in /proc/[0-9]*; do
		pid=${p#/proc/}
		if [ "$pid" != $$ ] && [ "$p/ns/net" -ef /proc/self/ns/net ]; then
			kill -9 "$pid"
			found=1
		fi
	done
	[ "$found" ] || exit 0
	sleep 0.02
done
exit 1
`

// startKeeper starts a keeper; it runs on the host's thread.
func startKeeper() (*keeper, error) {
	c := exec.Command("/bin/sh", "-c", keeperScript)
	c.Dir = "/"
	// A session of its own: signals for our group or terminal do not reach it.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("create keeper: %w", err)
	}
	if err := c.Start(); err != nil {
		in.Close()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	return &keeper{c, in}, nil
}

// sweep kills what is left in the namespace and waits for the keeper's end.
func (k *keeper) sweep() error {
	k.input.Close()
	if err := k.command.Wait(); err != nil {
		return fmt.Errorf("kill leftover processes: keeper: %w", err)
	}
	return nil
}
