package lab

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

// Output returns the last megabyte that the process has written so far, nil if
// its command had outputs of its own.
func (p *Process) Output() []byte {
	if p.output == nil {
		return nil
	}
	kept, _ := p.output.bytes()
	return kept
}

// WaitForText waits until the kept output contains a text. It returns an error
// with the end of the output when the process ends without having written it,
// or at the timeout. The command must not have outputs of its own.
func (p *Process) WaitForText(text string, timeout time.Duration) error {
	fail := func(why string) error {
		return fmt.Errorf("wait for %q of %s in %s: %s; it wrote: %s", text, p.command.Path, p.host.name, why, quote(p.Output()))
	}
	if p.output == nil {
		return fail("its output is not kept")
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		kept, changed := p.output.bytes()
		if bytes.Contains(kept, []byte(text)) {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if !bytes.Contains(p.Output(), []byte(text)) {
				return fail(fmt.Sprintf("the process has ended (%v)", p.err))
			}
			return nil
		case <-timer.C:
			return fail(fmt.Sprintf("not after %v", timeout))
		}
	}
}

// quote returns the end of an output, for an error.
func quote(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[max(0, len(out)-1000):]
}

// tailBytes is how much of a process's output is kept.
const tailBytes = 1 << 20

// tail keeps the end of what is written to it.
type tail struct {
	mu      sync.Mutex // guards the rest
	kept    []byte
	changed chan struct{} // closed at the next write; nil when nobody waits
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if len(t.kept) > 2*tailBytes { // seldom, so that copying stays cheap
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailBytes:]...)
	}
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	return len(b), nil
}

// bytes returns a copy of what is kept, and a channel that is closed when there
// is more.
func (t *tail) bytes() ([]byte, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return bytes.Clone(t.kept[max(0, len(t.kept)-tailBytes):]), t.changed
}
