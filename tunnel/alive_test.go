package tunnel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What looks after links answers, busy or idle; when it has ended it does not.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.home()
		alive := func() (client, server error) {
			ctx, end := context.WithTimeout(context.Background(), time.Second)
			defer end()
			return c.Alive(ctx), w.server.Alive(ctx)
		}
		for range 3 {
			if c, s := alive(); c != nil || s != nil {
				t.Errorf("not alive: %v, %v", c, s)
			}
			time.Sleep(time.Minute)
		}
		w.stop()
		if c, s := alive(); c == nil || s == nil {
			t.Errorf("alive after Run: %v, %v", c, s)
		}
	})
}
