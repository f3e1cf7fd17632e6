package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// systemd-resolved takes nameservers by link over D-Bus, org.freedesktop.resolve1(5),
// and sends each name to the links with the longest domain that fits. Ours get the
// routing domain "~.", every name, and those of other links nothing but their own
// domains. It forgets a link's nameservers with the link: when a daemon is killed its
// TUN goes, and nothing is left to undo.

const (
	resolvedName  = "org.freedesktop.resolve1"
	resolvedPath  = dbus.ObjectPath("/org/freedesktop/resolve1")
	resolvedIface = "org.freedesktop.resolve1.Manager"
	// resolvedUplinks lists the nameservers of all links.
	resolvedUplinks = "/run/systemd/resolve/resolv.conf"
	// resolvedPatience bounds one conversation: it answers in milliseconds.
	resolvedPatience = 3 * time.Second
)

// isStub is true of the addresses on which systemd-resolved answers programs.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// The types of its methods and properties.
type (
	resolvedAddress struct {
		Family int32
		Bytes  []byte
	}
	resolvedDomain struct {
		Domain    string
		RouteOnly bool
	}
)

// withResolved calls f with systemd-resolved, if it runs in our network namespace: a
// link's index means another link elsewhere.
func withResolved(f func(ctx context.Context, manager dbus.BusObject, bus *dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), resolvedPatience)
	defer cancel()
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer bus.Close()
	var pid uint32
	if err := bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, resolvedName).Store(&pid); err != nil {
		return err
	}
	ours, err := os.Stat(threadNamespace)
	its, err2 := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
	// Without the right to look at other processes it is taken for ours.
	if err == nil && err2 == nil && !os.SameFile(ours, its) {
		return errors.New("systemd-resolved runs in another network namespace")
	}
	return f(ctx, bus.Object(resolvedName, resolvedPath), bus)
}

// resolvedDNS reports whether systemd-resolved runs, and what it has from us for a
// link: nothing if it is not as we set it.
func resolvedDNS(index int) (running bool, servers []netip.Addr) {
	_ = withResolved(func(ctx context.Context, manager dbus.BusObject, bus *dbus.Conn) error {
		running = true
		var path dbus.ObjectPath
		if index == 0 {
			return nil
		}
		if err := manager.CallWithContext(ctx, resolvedIface+".GetLink", dbus.FlagNoAutoStart, int32(index)).Store(&path); err != nil {
			return err
		}
		var all map[string]dbus.Variant
		err := bus.Object(resolvedName, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll",
			dbus.FlagNoAutoStart, "org.freedesktop.resolve1.Link").Store(&all)
		if err != nil {
			return err
		}
		var addresses []resolvedAddress
		var domains []resolvedDomain
		if all["DNS"].Store(&addresses) != nil || all["Domains"].Store(&domains) != nil || !slices.Contains(domains, resolvedDomain{".", true}) {
			return nil
		}
		for _, a := range addresses {
			if addr, ok := netip.AddrFromSlice(a.Bytes); ok {
				servers = append(servers, addr)
			}
		}
		return nil
	})
	return running, servers
}

// setResolvedDNS tells systemd-resolved, or makes it forget.
func setResolvedDNS(index int, servers []netip.Addr, remove bool) error {
	err := withResolved(func(ctx context.Context, manager dbus.BusObject, _ *dbus.Conn) error {
		call := func(method string, args ...any) error {
			err := manager.CallWithContext(ctx, resolvedIface+"."+method, dbus.FlagNoAutoStart, append([]any{int32(index)}, args...)...).Err
			if err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
			return nil
		}
		if remove {
			return call("RevertLink")
		}
		var addresses []resolvedAddress
		for _, s := range servers {
			family := int32(unix.AF_INET)
			if s.Is6() {
				family = unix.AF_INET6
			}
			addresses = append(addresses, resolvedAddress{family, s.AsSlice()})
		}
		// The forwarder has no TLS, and needs none on this host. Older ones lack
		// the method.
		_ = call("SetLinkDNSOverTLS", "no")
		return errors.Join(call("SetLinkDNS", addresses), call("SetLinkDomains", []resolvedDomain{{".", true}}), call("SetLinkDefaultRoute", true))
	})
	if remove && err != nil {
		return nil // it is gone, and what we told it too
	}
	return err
}

// deniedByPolkit reports whether the bus or systemd-resolved said no. Without polkit
// it says so to everybody but root.
func deniedByPolkit(err error) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && (e.Name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" || e.Name == "org.freedesktop.DBus.Error.AccessDenied")
}
