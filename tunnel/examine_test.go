package tunnel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// A client that runs is examined beside: it keeps its session, and the server
// counts nothing as refused.
func TestExamination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		car, _ := w.hello(wire.KindPackets, wire.SessionID{})
		defer car.conn.Close()
		before := time.Now()
		e := w.examine(t, 0)
		defer e.Close()
		v := e.Vitals()
		if d := v.Time.Sub(before); d < -time.Millisecond || d > time.Second || v.Software == "" || !v.Seen.IsValid() {
			t.Errorf("vitals %+v", v)
		}
		trips, err := e.Beat(t.Context(), 10, 20*time.Millisecond)
		if err != nil || len(trips) != 10 {
			t.Errorf("%v, %v", trips, err)
		}
		if _, err := e.Push(t.Context(), 100_000); err != nil {
			t.Error(err)
		}
		if _, n, err := e.Ask(t.Context(), 50_000); err != nil || n < 50_000 || n > 54_000 {
			t.Errorf("%d bytes came: %v", n, err)
		}
		// No more than it may.
		total := 0
		for range 3 {
			_, n, err := e.Ask(t.Context(), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		if total > examineMostBytes {
			t.Errorf("%d bytes came", total)
		}
		if !car.alive() {
			t.Error("the session's carrier was ended")
		}
		if s := w.server.Status(); s.Rejected != 0 || s.Malformed != 0 {
			t.Errorf("rejected %d, malformed %d", s.Rejected, s.Malformed)
		}
	})
}

// Whoever stays is sent away, and whoever asks for too much at once as well.
func TestExaminationBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		e := w.examine(t, 0)
		time.Sleep(examinationTime + time.Second)
		if _, err := e.Beat(t.Context(), 1, time.Second); err == nil {
			t.Error("it goes on for ever")
		}
		e.Close()
		synctest.Wait()
		w.server.sessions()[0].examinations.Store(examinationsMost)
		_, err := w.tryExamine(t, w.keys[0])
		if r := (&RefusedError{}); !errors.As(err, &r) || r.Code != wire.RefuseBusy {
			t.Errorf("one too many: %v", err)
		}
		if n := w.server.sessions()[0].examinations.Load(); n != examinationsMost {
			t.Errorf("%d are counted", n)
		}
		// A stranger learns nothing.
		var refused *crypto.HandshakeError
		if _, err := w.tryExamine(t, crypto.GenerateKey()); !errors.As(err, &refused) {
			t.Errorf("a stranger: %v", err)
		}
	})
}

// What does not belong there ends it, and the context ends what hangs.
func TestExaminationMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		e := w.examine(t, 0)
		if _, err := e.tls.Write(wire.Path{Name: "dsl"}.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.in.next(); err == nil {
			t.Error("it goes on")
		}
		e.Close()
		e = w.examine(t, 0)
		defer e.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if trips, err := e.Beat(ctx, 100, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || len(trips) == 0 || len(trips) > 5 {
			t.Errorf("%d answers, %v", len(trips), err)
		}
	})
}

func (w *world) tryExamine(t *testing.T, key crypto.PrivateKey) (*Examination, error) {
	t.Helper()
	conn, err := w.net.Dial(t.Context(), serverAddr, uplinkA, ForPath)
	if err != nil {
		t.Fatal(err)
	}
	return Examine(t.Context(), conn, true, w.clientTLS(key, w.serverKey.Public()), key.Public(), "test")
}

func (w *world) examine(t *testing.T, client int) *Examination {
	t.Helper()
	e, err := w.tryExamine(t, w.keys[client])
	if err != nil {
		t.Fatal(err)
	}
	return e
}
