package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"braid/doctor"
	"braid/tunnel"
)

// packetSizes are those of usual tunnels and access lines, in bytes; 0 stands for
// the interface's own.
var packetSizes = []int{0, 1492, 1472, 1452, 1420, 1400, 1360, 1320, 1280, 1240, 1000}

// again examines once more after an examination that hung, and finds out whether
// smaller packets come through.
func (t *trip) again(ctx context.Context) {
	headers := 40
	if t.way.Server.Addr().Is6() {
		headers = 60
	}
	fits := make([]bool, len(packetSizes))
	var wg sync.WaitGroup
	for i, size := range packetSizes {
		if size >= t.uplink.MTU {
			continue
		}
		wg.Go(func() {
			o := t.options(true)
			if size > 0 {
				o.MaxSegmentBytes = size - headers
			}
			conn, trial := t.dial(ctx, o, plainPatience)
			if conn == nil {
				return
			}
			e, vitals, verdict, _, _ := t.examine(ctx, conn, trial.Took)
			if fits[i] = verdict == doctor.Well; fits[i] && size == 0 {
				t.plain, t.exam, t.way.OverPlain = conn, e, true
				if t.way.Verdict == doctor.NotExamined || t.way.Multipath.Outcome != doctor.Answered {
					t.way.Verdict, t.way.Text, t.way.Vitals = verdict, "", vitals
				}
				return
			}
			conn.SetLinger(0)
			conn.Close()
		})
	}
	wg.Wait()
	i := slices.Index(fits, true)
	if i <= 0 {
		return // what hung comes through, or nothing does
	}
	t.way.Fits, t.way.Lost = packetSizes[i], t.uplink.MTU
	if smaller := packetSizes[i-1]; smaller > 0 {
		t.way.Lost = min(smaller, t.uplink.MTU)
	}
}

// measure takes round trips and losses, and with a transfer beside it, if that is
// wanted.
func (t *trip) measure(ctx context.Context) {
	before, err := t.plain.TCPInfo()
	if err != nil {
		t.leave(t.uplink, "loss", err.Error())
		return
	}
	vitals, _, err := t.exam.Ask(ctx, 0)
	if err != nil {
		t.leave(t.uplink, "loss", err.Error())
		return
	}
	trips, err := t.exam.Beat(ctx, beats, beatEvery)
	if err != nil || len(trips) == 0 {
		t.leave(t.uplink, "loss", errorText(err))
		return
	}
	b := &doctor.Beats{Asked: beats, Answered: len(trips), Min: slices.Min(trips), Median: quantile(trips, 0.5), Worst: slices.Max(trips)}
	if after, err := t.plain.TCPInfo(); err == nil {
		sent, needless := after.TotalRetransSegs-before.TotalRetransSegs, after.DuplicatesReported-before.DuplicatesReported
		b.LostOut = int(sent - min(sent, needless))
	}
	if now, _, err := t.exam.Ask(ctx, 0); err == nil {
		b.LostIn = int(now.Lost - vitals.Lost)
	}
	t.uplink.Beats = b
	switch {
	case t.load == loadNone:
	case t.load == loadUnmetered && t.costs(t.uplink.Name):
		t.leave(t.uplink, "queue under load", "it is metered or has a cap: --load=all")
	default:
		t.transfer(ctx, b.Median)
	}
}

// transfer makes a download and an upload, and beats beside each.
func (t *trip) transfer(ctx context.Context, idle time.Duration) {
	l := &doctor.Load{Idle: idle}
	for i, way := range []struct {
		run   func(context.Context, *tunnel.Examination) (int, error)
		trip  *time.Duration
		bytes *int
	}{
		{func(ctx context.Context, e *tunnel.Examination) (int, error) {
			_, n, err := e.Ask(ctx, loadBytes)
			return n, err
		}, &l.Down, &l.DownBytes},
		{func(ctx context.Context, e *tunnel.Examination) (int, error) { return e.Push(ctx, loadBytes) }, &l.Up, &l.UpBytes},
	} {
		o := t.options(true)
		o.CongestionControl, o.ReceiveBufferBytes = loadCongestion, receiveBufferBytes
		conn, trial := t.dial(ctx, o, plainPatience)
		if conn == nil {
			t.leave(t.uplink, "queue under load", trial.Text)
			return
		}
		exam, _, _, text, _ := t.examine(ctx, conn, trial.Took)
		if exam == nil {
			conn.Close()
			t.leave(t.uplink, "queue under load", text)
			return
		}
		bounded, cancel := context.WithTimeout(ctx, loadPatience)
		done := make(chan struct{})
		go func() {
			defer close(done)
			*way.bytes, _ = way.run(bounded, exam) // it ends when the time is over, and that is no error
			cancel()
		}()
		trips, err := t.exam.Beat(bounded, int(loadPatience/beatEvery), beatEvery)
		<-done
		conn.SetLinger(0) // what waits in the kernel is not to be sent
		exam.Close()
		cancel()
		if len(trips) == 0 {
			t.leave(t.uplink, "queue under load", errorText(err))
			return
		}
		if *way.trip = quantile(trips, 0.9); i > 0 {
			break
		}
		// The answers that are still on the way belong to nobody: a new connection.
		t.exam.Close()
		if t.plain, trial = t.dial(ctx, t.options(true), plainPatience); t.plain == nil {
			t.exam = nil
			t.leave(t.uplink, "queue under load", trial.Text)
			return
		}
		if t.exam, _, _, text, _ = t.examine(ctx, t.plain, trial.Took+*way.trip); t.exam == nil {
			t.leave(t.uplink, "queue under load", text)
			return
		}
	}
	t.uplink.Load = l
}

// quantile of some round trips.
func quantile(list []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func errorText(err error) string {
	if err == nil {
		return "there was no answer"
	}
	return err.Error()
}
