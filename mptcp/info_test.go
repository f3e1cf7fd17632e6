package mptcp

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestInfoAgainstReality(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{Mark: testMark, Local: clientA4})
	const size = 300_000
	first, err := conn.Info()
	if err != nil {
		t.Fatal(err)
	}
	if first.Token == 0 || first.Fallback || first.ExtraSubflows != 0 || first.Checksums {
		t.Errorf("at first %+v", first)
	}
	exchange(t, conn, size)
	var info Info
	eventually(t, func() (string, bool) {
		if info, err = conn.Info(); err != nil {
			t.Fatal(err)
		}
		return "data unacknowledged", info.SendUnacknowledged == info.WriteSequence
	})
	if info.Token != first.Token || !info.RemoteKeyReceived {
		t.Errorf("token %#x then %#x, key %v", first.Token, info.Token, info.RemoteKeyReceived)
	}
	if got := info.WriteSequence - first.WriteSequence; got != size {
		t.Errorf("%d bytes written", got)
	}
	if info.BytesSent != size || info.BytesReceived != size || info.BytesAcked != size {
		t.Errorf("sent %d, received %d, acknowledged %d", info.BytesSent, info.BytesReceived, info.BytesAcked)
	}
	if info.SubflowsTotal != 1 {
		t.Errorf("%d subflows in total", info.SubflowsTotal)
	}
	server := e.next(t)
	theirs, err := server.Info()
	if err != nil {
		t.Fatal(err)
	}
	if theirs.ReceiveNext != info.WriteSequence {
		t.Errorf("the server expects %d, the client writes %d", theirs.ReceiveNext, info.WriteSequence)
	}
	time.Sleep(60 * time.Millisecond)
	if info, err = conn.Info(); err != nil || info.LastDataSent < 50*time.Millisecond || info.LastDataReceived < 50*time.Millisecond ||
		info.LastDataSent > time.Minute || info.LastAckReceived > time.Minute {
		t.Errorf("last %v, %v, %v ago; %v", info.LastDataSent, info.LastDataReceived, info.LastAckReceived, err)
	}
}

func TestSubflowsAgainstReality(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	for _, c := range []struct {
		local, remote netip.Addr
		mapped        bool
	}{{clientA4, service4, true}, {clientA6, service6, false}} {
		conn := l.dial(netip.AddrPortFrom(c.remote, e.port()), Options{Mark: testMark, Local: c.local})
		const size = 500_000
		exchange(t, conn, size)
		subs, err := conn.Subflows()
		if err != nil || len(subs) != 1 {
			t.Fatalf("%+v, %v", subs, err)
		}
		s := subs[0]
		if s.Local != conn.LocalAddrPort() || s.Remote != conn.RemoteAddrPort() || s.Mapped != c.mapped {
			t.Errorf("%v → %v, mapped %v", s.Local, s.Remote, s.Mapped)
		}
		tcp := s.TCP
		if tcp.State != StateEstablished || !tcp.State.Live() || tcp.BytesReceived < size || tcp.BytesSent < size ||
			tcp.RTT <= 0 || tcp.RTT > patience || tcp.MinRTT <= 0 || tcp.MinRTT > tcp.RTT*100 ||
			tcp.PathMTUBytes != 1500 || tcp.SendMSSBytes < 1200 || tcp.SendMSSBytes > 1460 ||
			tcp.SendWindowSegments == 0 || tcp.PeerWindowBytes == 0 || tcp.SegmentsSent == 0 {
			t.Errorf("%+v", tcp)
		}
		// The older pair of options tells the same, without the id.
		q := subflowQueries.Get().(*subflowQuery)
		old, err := q.separate(conn, nil)
		if err != nil || len(old) != 1 {
			t.Fatalf("%+v, %v", old, err)
		}
		if o := old[0]; o.Local != s.Local || o.Remote != s.Remote || o.Mapped != s.Mapped ||
			o.TCP.BytesReceived != tcp.BytesReceived || o.TCP.State != tcp.State || o.TCP.PathMTUBytes != tcp.PathMTUBytes {
			t.Errorf("%+v, by FULL_INFO %+v", o, s)
		}
	}
}

func TestTCPInfoAgainstReality(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{PlainTCP: true})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{PlainTCP: true, CongestionControl: "reno"})
	exchange(t, conn, 400_000)
	var raw unix.TCPInfo
	bytes := (*[unsafe.Sizeof(raw)]byte)(unsafe.Pointer(&raw))[:]
	n, err := getOptQuery().get(conn.raw, unix.IPPROTO_TCP, unix.TCP_INFO, bytes)
	if err != nil || n < 232 {
		t.Fatal(n, err)
	}
	got := DecodeTCPInfo(bytes[:n])
	us := func(v uint32) time.Duration { return time.Duration(v) * time.Microsecond }
	ms := func(v uint32) time.Duration { return time.Duration(v) * time.Millisecond }
	want := got
	want.State, want.Retransmits = TCPState(raw.State), raw.Retransmits
	want.RetransmitTimeout, want.RTT, want.RTTVariance = us(raw.Rto), us(raw.Rtt), us(raw.Rttvar)
	want.MinRTT, want.ReceiveRTT = us(raw.Min_rtt), us(raw.Rcv_rtt)
	want.SendMSSBytes, want.ReceiveMSSBytes, want.PathMTUBytes = raw.Snd_mss, raw.Rcv_mss, raw.Pmtu
	want.UnackedSegments, want.SackedSegments, want.LostSegments = raw.Unacked, raw.Sacked, raw.Lost
	want.RetransSegments, want.TotalRetransSegs = raw.Retrans, raw.Total_retrans
	want.SendWindowSegments, want.SlowStartThreshold = raw.Snd_cwnd, raw.Snd_ssthresh
	want.ReorderingSegments, want.ReorderingSeen = raw.Reordering, raw.Reord_seen
	want.OutOfOrderReceived, want.PeerWindowBytes, want.ReceiveWindowBytes = raw.Rcv_ooopack, raw.Snd_wnd, raw.Rcv_wnd
	want.DeliveredSegments, want.DeliveredCESegments, want.DuplicatesReported = raw.Delivered, raw.Delivered_ce, raw.Dsack_dups
	want.SegmentsSent, want.SegmentsReceived = raw.Segs_out, raw.Segs_in
	want.DataSegmentsSent, want.DataSegmentsIn = raw.Data_segs_out, raw.Data_segs_in
	want.PacingRate, want.DeliveryRate = ByteRate(raw.Pacing_rate), ByteRate(raw.Delivery_rate)
	want.BytesAcked, want.BytesReceived = raw.Bytes_acked, raw.Bytes_received
	want.BytesSent, want.BytesRetransmitted, want.NotSentBytes = raw.Bytes_sent, raw.Bytes_retrans, raw.Notsent_bytes
	want.LastDataSent, want.LastDataReceived, want.LastAckReceived = ms(raw.Last_data_sent), ms(raw.Last_data_recv), ms(raw.Last_ack_recv)
	want.BusyTime = time.Duration(raw.Busy_time) * time.Microsecond
	want.ReceiveLimited = time.Duration(raw.Rwnd_limited) * time.Microsecond
	want.SendBufferLimited = time.Duration(raw.Sndbuf_limited) * time.Microsecond
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.BytesSent < 400_000 || got.BytesReceived < 400_000 {
		t.Errorf("%+v", got)
	}
}

func TestLookingDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
	exchange(t, conn, 10)
	var subs []Subflow
	if n := testing.AllocsPerRun(100, func() {
		var err error
		if subs, err = conn.AppendSubflows(subs[:0]); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Info(); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.TCPInfo(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
