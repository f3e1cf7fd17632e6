package hostnet

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Two carriers are lost at once. The kernel tells of the second before it answers
// Prompt, and so before it tells of what happens afterwards.
func TestPrompt(t *testing.T) {
	s, isp := newSpace(t), newSpace(t)
	s.veth("dsl", isp, "dsl")
	s.veth("lte", isp, "lte")
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	defer close(done)
	var dsl, lte netlink.Link
	var err error
	s.do(func() {
		if err = netlink.LinkSubscribe(updates, done); err != nil {
			return
		}
		if dsl, err = netlink.LinkByName("dsl"); err == nil {
			lte, err = netlink.LinkByName("lte")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // until the kernel tells of the next at once
	isp.ip("link set dsl down\nlink set lte down")
	s.do(func() { err = Prompt([]int{dsl.Attrs().Index, lte.Attrs().Index, 9999}) })
	if err != nil {
		t.Fatal(err)
	}
	s.ip("link set lo alias afterwards")
	told := false
	for deadline := time.After(patience); ; {
		select {
		case u := <-updates:
			a := u.Attrs()
			told = told || a.Name == "lte" && a.RawFlags&unix.IFF_RUNNING == 0
			if a.Alias != "afterwards" {
				continue
			}
			if !told {
				t.Error("the kernel has not told of lte's carrier yet")
			}
			return
		case <-deadline:
			t.Fatal("no event")
		}
	}
}
