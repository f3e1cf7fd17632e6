package tunnel

import (
	"context"
	"time"
)

const (
	// sampleEvery is how often subflow counters are read and missing
	// subflows created. A reading costs some 11 µs.
	sampleEvery = 500 * time.Millisecond
	// sampleIdle is sampleEvery while there are no packets.
	sampleIdle = 4 * sampleEvery
	// settleEvery is the pace right after a connection was made: the peer's
	// kernel accepts joins only after the first data was acknowledged.
	settleEvery = 20 * time.Millisecond
	settleFor   = 300 * time.Millisecond
)

// supervise keeps the subflows of the carrier of packets equal to the uplinks
// and reads what they carry, until ctx ends.
func (c *Client) supervise(ctx context.Context, car *carrier) {
	var complaint, doubt string
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var subflows []Subflow
	var packets uint64
	for {
		select {
		case <-timer.C:
		case <-c.changed:
		case <-ctx.Done():
			return
		}
		moved := c.stats.txPackets.Load() + c.stats.rxPackets.Load()
		quiet := moved == packets
		packets = moved
		err := car.conn.SetUplinks(c.preferred())
		settling := err != nil && time.Since(began) < settleFor
		if err == nil {
			complaint, doubt = "", ""
		} else if text := err.Error(); !settling && text != doubt {
			doubt = text // a join over a slow uplink takes its time
		} else if !settling && text != complaint {
			complaint = text
			c.Log.Warn("subflow missing", "error", err)
		}
		if subflows, err = car.conn.AppendSubflows(subflows[:0]); err == nil {
			c.mu.Lock()
			c.packetFlows = append(c.packetFlows[:0], subflows...)
			c.mu.Unlock()
		}
		if settling {
			timer.Reset(settleEvery)
		} else if quiet {
			timer.Reset(sampleIdle)
		} else {
			timer.Reset(sampleEvery)
		}
	}
}
