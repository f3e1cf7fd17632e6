package dnsforward

import (
	"testing"

	"github.com/miekg/dns"
)

func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 0x1234
	return m
}

func packed(t *testing.T, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswers(t *testing.T) {
	q := question("www.Braid.test.", dns.TypeA)
	good := func() *dns.Msg { return new(dns.Msg).SetReply(question("www.braid.test.", dns.TypeA)) }
	for name, c := range map[string]struct {
		change func(*dns.Msg)
		cut    int
		want   bool
	}{
		"right":              {func(*dns.Msg) {}, 0, true},
		"does not exist":     {func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, 0, true},
		"another ID":         {func(m *dns.Msg) { m.Id++ }, 0, false},
		"another name":       {func(m *dns.Msg) { m.Question[0].Name = "ww.braid.test." }, 0, false},
		"another type":       {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, 0, false},
		"another class":      {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, 0, false},
		"a query":            {func(m *dns.Msg) { m.Response = false }, 0, false},
		"an update":          {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, 0, false},
		"no question":        {func(m *dns.Msg) { m.Question = nil }, 0, false},
		"two questions":      {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, 0, false},
		"question cut off":   {func(*dns.Msg) {}, 2, false},
		"name cut off":       {func(*dns.Msg) {}, 8, false},
		"nothing but an ID":  {func(*dns.Msg) {}, 30, false},
		"less than a header": {func(*dns.Msg) {}, 21, false},
	} {
		m := good()
		c.change(m)
		b := packed(t, m)
		if got := answers(b[:max(2, len(b)-c.cut)], q); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTruncate(t *testing.T) {
	m := new(dns.Msg).SetReply(question("braid.test.", dns.TypeTXT))
	for range 40 {
		m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: "braid.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"0123456789abcdef"}})
	}
	m.SetEdns0(1232, true)
	var got dns.Msg
	if err := got.Unpack(truncate(packed(t, m))); err != nil {
		t.Fatal(err)
	}
	if !got.Truncated || len(got.Answer)+len(got.Extra) > 0 || got.Question[0] != m.Question[0] || got.Id != m.Id {
		t.Errorf("truncated to %v", &got)
	}
}

// Whatever a server sends, it is an answer to the question or nothing.
func FuzzAnswers(f *testing.F) {
	q := question("braid.test.", dns.TypeA)
	reply := new(dns.Msg).SetReply(q)
	b, err := reply.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append(b[:12:12], 0xc0, 12, 0, 1, 0, 1)) // a name that points to itself
	f.Fuzz(func(t *testing.T, b []byte) {
		if !answers(b, q) {
			return
		}
		othersMayKnow(b)
		size := len(b)
		if cut := truncate(b); len(cut) > size || !answers(cut, q) {
			t.Fatalf("truncated to %x", cut)
		}
		setID(b, 7)
		if answers(b, q) {
			t.Fatal("another ID is right, too")
		}
	})
}
