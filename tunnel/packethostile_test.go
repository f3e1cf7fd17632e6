package tunnel

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// What a client does wrong with packets on a path carrier ends that carrier, and
// nothing else.
func TestBadPacketsOnAPath(t *testing.T) {
	named := wire.Path{Name: "evil"}.Append(nil)
	good := packet("10.77.0.2", "198.51.100.7", 1)
	last := frameOf(wire.MaxNumber, good)
	beyond := slices.Clone(last)
	beyond[wire.HeaderLen] |= 0x80
	for _, tt := range []struct {
		name    string
		says    []byte
		wantLog string
	}{
		{"before its name", frameOf(0, good), "before the path's name"},
		{"number beyond the last", slices.Concat(named, beyond), "packet number"},
		{"not IP", slices.Concat(named, frameOf(0, make([]byte, 30))), "IP version 0"},
		{"has what was not sent", slices.Concat(named, wire.Arrived{Packets: 1}.Append(nil)), "1 packets of 0"},
		{"says it before its name", wire.Arrived{Packets: 1 << 60}.Append(nil), "packets of 0"},
		{"streams on it", slices.Concat(named, wire.AppendFin(nil)), "frame order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.stop()
				c := w.bothUp()
				id := c.Status().Session
				bad := w.raw(wire.Hello{Kind: wire.KindPath, Session: id}.Append(nil))
				defer bad.Close()
				in := newFrameReader(bad)
				if typ, _, err := in.next(); err != nil || typ != wire.TypeWelcome {
					t.Fatalf("answer to hello: %v, %v", typ, err)
				}
				if _, err := bad.Write(tt.says); err != nil {
					t.Fatal(err)
				}
				typ, _, err := in.next()
				for err == nil && typ != wire.TypeClose {
					typ, _, err = in.next()
				}
				if err != nil {
					t.Errorf("it was not told why: %v", err)
				}
				bad.Close()
				w.await("counted", func() bool { return w.server.Status().Peers[0].Counters.Malformed == 1 })
				w.await("logged", func() bool { return strings.Contains(w.log.String(), tt.wantLog) })
				c.tun.toBraid <- good
				w.receive(w.serverTUN)
				if p := w.server.Status().Peers[0]; c.Status().Session != id || len(p.Paths) != 2 {
					t.Errorf("%+v", p)
				}
			})
		})
	}
}

// The same number again, and numbers from anywhere, cost nothing and bring no
// packet twice.
func TestRepeatedPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		conn := w.raw(wire.Hello{Kind: wire.KindPackets}.Append(nil))
		defer conn.Close()
		in := newFrameReader(conn)
		if _, _, err := in.next(); err != nil {
			t.Fatal(err)
		}
		got := w.collect(w.serverTUN)
		for i, n := range []uint64{0, 1, 1, 0, 5, 3, 5, 1 << 40, 2, 4, wire.MaxNumber, 1 << 40, wire.MaxNumber} {
			if _, err := conn.Write(frameOf(n, numbered("10.77.0.2", "198.51.100.7", i))); err != nil {
				t.Fatal(err)
			}
		}
		var a wire.Arrived
		for a.Packets < 13 { // the first word comes at once
			typ, p, err := in.next()
			if err != nil || typ != wire.TypeArrived {
				t.Fatalf("%v, %v", typ, err)
			}
			if a, err = wire.ParseArrived(p); err != nil {
				t.Fatal(err)
			}
		}
		if a.Behind != 7 {
			t.Errorf("%+v", a)
		}
		time.Sleep(time.Second)
		list := got()
		for i, want := range []int{1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0} {
			if list[i] != want {
				t.Errorf("the frame at %d came %d times, want %d", i, list[i], want)
			}
		}
		if d := w.server.Status().Peers[0].Packets.Duplicates; d != 7 {
			t.Errorf("%d duplicates", d)
		}
	})
}
