package tunnel

import (
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// Of many carriers of one session that come while an earlier one is being
// ended, the newest stays. The others are closed at once: they do not wait for
// one another.
func TestNewestCarrierStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		first, welcome := w.hello(wire.KindPackets, wire.SessionID{})
		cars := []*carrier{first}
		began := time.Now()
		for range 30 {
			synctest.Wait()
			car, again := w.hello(wire.KindPackets, welcome.Session)
			if again.Session != welcome.Session {
				t.Fatalf("session %v became %v", welcome.Session, again.Session)
			}
			cars = append(cars, car)
		}
		if d := time.Since(began); d > farewellTimeout {
			t.Fatalf("they came one after the other, in %v", d)
		}
		time.Sleep(3 * farewellTimeout)
		newest := cars[len(cars)-1]
		newest.tls.Write(pings(1))
		typ, _, err := newest.in.next()
		if typ == wire.TypeWant { // what it begins with
			typ, _, err = newest.in.next()
		}
		if err != nil || typ != wire.TypePong {
			t.Errorf("the newest is answered with %v, %v", typ, err)
		}
		for i, car := range cars {
			if alive := car.alive(); alive != (car == newest) {
				t.Errorf("carrier %d of %d is alive: %v", i+1, len(cars), alive)
			}
		}
		if !w.server.Status().Peers[0].Connected {
			t.Error("not connected")
		}
	})
}

// A carrier whose session is over by the time it is attached is closed, and
// disturbs nobody.
func TestStaleCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		good, _ := w.hello(wire.KindPackets, wire.SessionID{})
		synctest.Wait()
		if _, err := w.server.sessions()[0].attach(w.ctx, nil, wire.SessionID{9}); err != errReplaced {
			t.Errorf("attached: %v", err)
		}
		time.Sleep(3 * farewellTimeout)
		if !good.alive() {
			t.Error("the carrier of the session was ended")
		}
	})
}
