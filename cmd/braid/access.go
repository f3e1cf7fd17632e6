package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"strconv"

	"braid/config"
	"braid/control"
)

// access is who may use a daemon's control socket besides its own user: a nil
// group is nobody.
type access struct {
	change, read *control.Group
}

// lookupAccess finds the groups of a configuration on this host; key is that of
// the one that is not there.
func lookupAccess(a config.Access) (who access, key string, err error) {
	if who.change, err = lookupGroup(a.Group); err != nil {
		return access{}, "control_group", err
	}
	if who.read, err = lookupGroup(a.Readers); err != nil {
		return access{}, "control_readers", err
	}
	return who, "", nil
}

// lookupGroup finds a group by its name or number; nil for "". A number needs no
// entry in the host's table of groups.
func lookupGroup(name string) (*control.Group, error) {
	if name == "" {
		return nil, nil
	}
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return &control.Group{Name: name, ID: int(id)}, nil
	}
	g, err := user.LookupGroup(name)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return nil, errors.New("there is no such group on this host")
	}
	if err != nil {
		return nil, fmt.Errorf("the group is not found: %w", err)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the group has the number %q", g.Gid)
	}
	return &control.Group{Name: name, ID: int(id)}, nil
}

// openServer reads a server's configuration, for a server that runs on this host.
func openServer(path string) (*config.File[config.Server], error) {
	f, err := config.OpenServer(path)
	if err != nil {
		return nil, err
	}
	return onThisHost(f, f.Config.Access)
}

// openClient is openServer for a client.
func openClient(path string) (*config.File[config.Client], error) {
	f, err := config.OpenClient(path)
	if err != nil {
		return nil, err
	}
	return onThisHost(f, f.Config.Access)
}

// onThisHost refuses a configuration that is about groups that are not here.
func onThisHost[T any](f *config.File[T], a config.Access) (*config.File[T], error) {
	if _, key, err := lookupAccess(a); err != nil {
		return nil, f.Fault(key, err.Error(), "make it with groupadd, or name another one; its number will do where it is not in /etc/group")
	}
	return f, nil
}

// serveControl opens the control sockets and returns what serves them.
func serveControl(path string, who access, status func() any, change control.Changes) (serve func(context.Context) error, err error) {
	open := control.Listen
	if who.change != nil {
		open = func(path string) (net.Listener, error) { return listenGroup(path, *who.change) }
	}
	l, err := open(path)
	if err != nil {
		return nil, err
	}
	all := func(ctx context.Context) error { return control.Serve(ctx, l, status, change) }
	if who.read == nil {
		return all, nil
	}
	readers, err := listenGroup(control.ReadSocket(path), *who.read)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	changers := ""
	if who.change != nil {
		changers = who.change.Name
	}
	return func(ctx context.Context) error {
		return runAll(ctx, all, func(ctx context.Context) error {
			return control.ServeReaders(ctx, readers, status, path, changers)
		})
	}, nil
}

// listenGroup is control.ListenGroup. That the group may not be given the socket
// will be so the next time, too.
func listenGroup(path string, g control.Group) (net.Listener, error) {
	l, err := control.ListenGroup(path, g)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &configError{err}
	}
	return l, err
}
