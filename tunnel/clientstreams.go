package tunnel

import (
	"context"
	"errors"
	"time"

	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// streams returns the lane of the present session; nil: there is none.
func (c *Client) streams() *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lane
}

// offer takes a connection that the terminator holds.
func (c *Client) offer(h HeldConn) {
	if l := c.streams(); l != nil {
		l.offer(h)
		return
	}
	h.Fail(wire.OpenNetworkUnreachable) // the server takes no streams, or none is known yet
}

// enterSession makes the lane of a session that is new. The streams of another
// end: the server that knew them is not the one that is there now.
func (c *Client) enterSession(id wire.SessionID, streams bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lane != nil && c.lane.session == id && streams || c.ending {
		return
	}
	if old := c.lane; old != nil {
		c.old.Go(old.close)
		c.lane = nil
	}
	if c.capture == nil || !streams {
		return
	}
	c.lane = newLane(laneConfig{
		log: c.Log, session: id, demand: c.keeper.poke, limits: *c.limits.Load(), total: &c.total, connect: c.connect,
		widen: func(k *link) { k.wg.Go(func() { c.joinLink(k) }) },
		lost:  c.keeper.lost, moved: c.stir, returns: &c.paths.returns,
	})
	c.keeper.retry()
}

// leaveSession ends a session that the server has ended for good: its streams
// would wait for nothing.
func (c *Client) leaveSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = wire.SessionID{}
	if old := c.lane; old != nil {
		c.old.Go(old.close)
		c.lane = nil
	}
}

// enterPackets returns the session's packet lane.
func (c *Client) enterPackets(id wire.SessionID) *packetLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.packets != nil {
		if c.packets.session == id {
			return c.packets
		}
		c.packets.close()
	}
	c.packets = newPacketLane(id, c.policies, c.takePacket)
	c.packets.talks = c.calm.hear
	return c.packets
}

// packetsOf is the packet lane of a session, nil when that is over.
func (c *Client) packetsOf(id wire.SessionID) *packetLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.packets == nil || c.packets.session != id {
		return nil
	}
	return c.packets
}

// sessionLost ends the carrier of packets, if the lane is still that of the
// session: the server has forgotten it, and says so to carriers of streams.
// The next Hello begins another.
func (c *Client) sessionLost(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lane == l && c.drop != nil {
		c.drop(errSessionLost)
	}
}

var errSessionLost = errors.New("the server does not know the session any more")

// connect makes the connection of a stream that the server opens. It comes
// out of the TUN: what the server reaches is what it would reach with packets,
// and this host's firewall and forwarding decide about it.
func (c *Client) connect(ctx context.Context, o wire.Open) (relay.Socket, error) {
	return c.capture.dial(ctx, o.Source, o.Destination)
}

// lastWords is how long the TUN's reader has, when all streams were reset, to
// bring the resets to their programs.
const lastWords = 50 * time.Millisecond

// endStreams resets all streams, and returns when they have ended.
func (c *Client) endStreams() {
	c.mu.Lock()
	l := c.lane
	c.lane, c.ending = nil, true
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
	c.old.Wait()
	if l != nil && c.total.Load() == 0 && l.count.opened.Load() > 0 {
		time.Sleep(lastWords)
	}
}
