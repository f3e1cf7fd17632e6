package hostnet

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Prompt asks the kernel for links by their indexes, so that it tells of carriers
// that were lost meanwhile. By itself it tells of one at once, and of others within
// the next second when that has passed (net/core/link_watch.c): a hub that is pulled
// out, or two modems that lose their mains, take that long. Older kernels are not
// moved by it.
//
// It works in the calling thread's network namespace. What is not there any more is
// no error.
func Prompt(indexes []int) error {
	for _, i := range indexes {
		if _, err := netlink.LinkByIndex(i); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			return fmt.Errorf("ask for link %d: %w", i, err)
		}
	}
	return nil
}
