package tunnel

import "time"

const (
	backoffFirst = 100 * time.Millisecond
	// backoffSoon bounds the wait while an outage is young: a server that
	// restarts is found again within this and a bit.
	backoffSoon = 1200 * time.Millisecond
	// backoffLong bounds it after youngOutage, so that a server that is gone
	// for good is not asked for ever at the same pace by all of its clients.
	backoffLong = 20 * time.Second
	youngOutage = 10 * time.Minute
)

// backoff returns how long to wait before the next dial, after attempts
// failed ones in an outage that is down old. random is uniform in [0, 1): it
// spreads the clients of a server that restarts.
func backoff(attempts int, down time.Duration, random float64) time.Duration {
	limit := backoffSoon
	if down > youngOutage {
		limit = backoffLong
	}
	d := limit
	if shift := attempts - 1; shift < 10 {
		d = min(backoffFirst<<max(shift, 0), limit)
	}
	// From three quarters to five quarters.
	return time.Duration(float64(d) * (0.75 + random/2))
}
