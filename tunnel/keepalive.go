package tunnel

import "time"

// What a keepalive may ask for.
type keepaliveAction int

const (
	keepaliveNothing keepaliveAction = iota
	keepalivePing
	keepaliveDead
)

const (
	// keepaliveTick is how often step is called.
	keepaliveTick = time.Second
	// pingBusy: a peer that we send to and that has been quiet for this long
	// is asked whether it is there.
	pingBusy = 5 * time.Second
	// pingIdle keeps NATs awake, whose shortest usual timer for established
	// TCP is some minutes. A ping and its answer are 0.3 KB; who watches the
	// uplinks for the user is their path carriers.
	pingIdle = 2 * time.Minute
	// deadAfter must exceed what a full queue on a slow link delays an
	// answer; the kernel needs seconds for its own retransmissions.
	deadAfter = 15 * time.Second
	// pathSilent ends a carrier whose peer alone asks, every five minutes at least.
	pathSilent = 400 * time.Second
)

// keepalive decides when to ping and when to give up. It is pure: the time
// is an argument, all times count from one origin.
type keepalive struct {
	listen  bool          // never ask: the peer does
	pinged  time.Duration // when the unanswered ping was sent
	waiting bool
	sent    uint64
}

// step takes the time, when a frame last came, and how many packets were
// sent in all.
func (k *keepalive) step(now, received time.Duration, sent uint64) keepaliveAction {
	busy := sent != k.sent
	k.sent = sent
	if k.waiting && received >= k.pinged {
		k.waiting = false
	}
	if k.waiting {
		if now-k.pinged >= deadAfter {
			return keepaliveDead
		}
		return keepaliveNothing
	}
	quiet := now - received
	if k.listen {
		if quiet >= pathSilent {
			return keepaliveDead
		}
		return keepaliveNothing
	}
	if quiet >= pingIdle || busy && quiet >= pingBusy {
		k.waiting, k.pinged = true, now
		return keepalivePing
	}
	return keepaliveNothing
}
