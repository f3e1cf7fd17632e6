package stream

import "testing"

// The Ack with the end is the last: the peer may have handed its carrier on.
func TestNoAckBehindTheEnd(t *testing.T) {
	in := NewInbound(1<<20, nil)
	p := make([]byte, 1<<17)
	if err := in.Data(len(p)); err != nil {
		t.Fatal(err)
	}
	in.Keep(p)
	if err := in.Fin(); err != nil {
		t.Fatal(err)
	}
	if a, due := in.Due(false); !due || !a.Fin || a.Received != 1<<17 {
		t.Fatalf("Due = %+v, %v", a, due)
	}
	for in.Waiting() {
		in.Consume(len(in.Pending()))
	}
	if a, due := in.Due(true); due {
		t.Errorf("%+v is due behind the end", a)
	}
	in.Close()
}
