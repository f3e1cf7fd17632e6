package tunnel

import (
	"context"
	"fmt"
)

// pulse asks a loop whether it still goes round: the loop receives from it where
// it waits for its other work.
type pulse chan struct{}

// feel waits until the loop answers, has gone, or ctx ends. gone may be nil.
func (p pulse) feel(ctx context.Context, gone <-chan struct{}, what string) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not answer: %w", what, ctx.Err())
	}
}

// Alive asks the goroutines that look after uplinks, links and packets whether
// they still do, while Run runs. The error names the one that has not answered
// when ctx ends.
func (c *Client) Alive(ctx context.Context) error {
	return c.pulse.feel(ctx, nil, "the keeper of the client's links")
}

// Alive is Client.Alive for the sessions of all clients.
func (s *Server) Alive(ctx context.Context) error {
	for _, ses := range s.sessions() {
		if err := ses.pulse.feel(ctx, ses.life.Done(), "the keeper of client "+ses.peer().Name); err != nil {
			return err
		}
	}
	return nil
}
