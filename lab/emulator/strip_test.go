package emulator

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// tcpFrame builds an Ethernet frame with the options and a payload, and a right
// checksum. Options must be a multiple of four bytes.
func tcpFrame(v6 bool, options, payload []byte) []byte {
	tcp := make([]byte, 20, 20+len(options)+len(payload))
	binary.BigEndian.PutUint16(tcp, 40000)
	binary.BigEndian.PutUint16(tcp[2:], 443)
	tcp[12] = byte(20+len(options)) / 4 << 4
	tcp[13] = 0x10
	tcp = append(append(tcp, options...), payload...)
	frame := make([]byte, ethernetHeader, ethernetHeader+40+len(tcp))
	if v6 {
		binary.BigEndian.PutUint16(frame[12:], etherIPv6)
		ip := make([]byte, 40)
		ip[0], ip[6], ip[23], ip[39] = 0x60, protocolTCP, 1, 2
		binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
		frame = append(frame, ip...)
	} else {
		binary.BigEndian.PutUint16(frame[12:], etherIPv4)
		ip := make([]byte, 20)
		ip[0], ip[9] = 0x45, protocolTCP
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(tcp)))
		copy(ip[12:], []byte{10, 1, 0, 2, 203, 0, 113, 10})
		frame = append(frame, ip...)
	}
	frame = append(frame, tcp...)
	_, checksum := tcpOptions(frame)
	binary.BigEndian.PutUint16(checksum, ^tcpSum(frame))
	return frame
}

// tcpSum is the one's complement sum over pseudo-header, TCP header and payload,
// calculated anew: 0xffff when the checksum in it is right.
func tcpSum(frame []byte) uint16 {
	ip := frame[ethernetHeader:]
	var addresses, tcp []byte
	if ip[0]>>4 == 6 {
		addresses, tcp = ip[8:40], ip[40:]
	} else {
		addresses, tcp = ip[12:20], ip[int(ip[0]&0xf)*4:]
	}
	sum := uint32(protocolTCP) + uint32(len(tcp))
	for _, b := range [][]byte{addresses, tcp} {
		for i := range b {
			if i%2 == 0 {
				sum += uint32(b[i]) << 8
			} else {
				sum += uint32(b[i])
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestStripMPTCP(t *testing.T) {
	timestamps := []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	nops := bytes.Repeat([]byte{1}, 12)
	capable := []byte{30, 12, 0x01, 0x81, 9, 8, 7, 6, 5, 4, 3, 2}
	for name, test := range map[string]struct{ options, want []byte }{
		"none":              {timestamps, timestamps},
		"alone":             {capable, nops},
		"behind another":    {append(bytes.Clone(timestamps), capable...), append(bytes.Clone(timestamps), nops...)},
		"before another":    {append(bytes.Clone(capable), timestamps...), append(bytes.Clone(nops), timestamps...)},
		"two, at odd place": {[]byte{1, 30, 3, 0x40, 30, 4, 0x30, 9}, []byte{1, 1, 1, 1, 1, 1, 1, 1}},
		"behind the end":    {[]byte{0, 30, 2, 0}, []byte{0, 30, 2, 0}},
		"too long":          {[]byte{30, 9, 0, 0}, []byte{30, 9, 0, 0}},
		"too short":         {[]byte{30, 1, 30, 2}, []byte{30, 1, 30, 2}},
		"cut off":           {[]byte{1, 1, 1, 30}, []byte{1, 1, 1, 30}},
	} {
		for _, v6 := range []bool{false, true} {
			frame := tcpFrame(v6, test.options, []byte("payload"))
			want := tcpFrame(v6, test.want, []byte("payload"))
			if got := stripMPTCP(frame); got != !bytes.Equal(test.options, test.want) {
				t.Errorf("%s, v6 %v: reported %v", name, v6, got)
			}
			options, _ := tcpOptions(frame)
			if !bytes.Equal(options, test.want) || tcpSum(frame) != 0xffff {
				t.Errorf("%s, v6 %v: options % x, want % x, sum %#x", name, v6, options, test.want, tcpSum(frame))
			}
			if len(frame) != len(want) {
				t.Errorf("%s, v6 %v: %d bytes, want %d", name, v6, len(frame), len(want))
			}
		}
	}
}

// What is no TCP segment stays as it is, and nothing is read beyond a frame.
func TestStripLeavesOthersAlone(t *testing.T) {
	udp := tcpFrame(false, []byte{30, 4, 0, 0}, nil)
	udp[ethernetHeader+9] = 17
	fragment := tcpFrame(false, []byte{30, 4, 0, 0}, nil)
	fragment[ethernetHeader+7] = 1
	arp := tcpFrame(false, []byte{30, 4, 0, 0}, nil)
	arp[13] = 6
	for _, frame := range [][]byte{nil, udp, fragment, arp} {
		before := bytes.Clone(frame)
		if stripMPTCP(frame) || !bytes.Equal(frame, before) {
			t.Errorf("% x became % x", before, frame)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	whole := tcpFrame(false, []byte{30, 4, 0, 0}, nil)
	for n := range whole {
		stripMPTCP(bytes.Clone(whole[:n])) // must not panic
	}
	for range 10_000 {
		frame := tcpFrame(random.IntN(2) == 0, make([]byte, 40), []byte{1, 2, 3})
		options, checksum := tcpOptions(frame)
		for i := range options {
			options[i] = []byte{0, 1, 2, 3, 30, 30, 30, byte(random.Uint32())}[random.IntN(8)]
		}
		clear(checksum)
		binary.BigEndian.PutUint16(checksum, ^tcpSum(frame))
		stripMPTCP(frame)
		if sum := tcpSum(frame); sum != 0xffff {
			t.Fatalf("sum %#x of % x", sum, frame)
		}
	}
}

// A link strips while its shape says so.
func TestShapeStripsMPTCP(t *testing.T) {
	d, err := New(Shape{StripMPTCP: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, strip := range []bool{true, false} {
		if err := d.SetShape(0, Shape{StripMPTCP: strip}); err != nil {
			t.Fatal(err)
		}
		if !d.Push(0, tcpFrame(false, []byte{30, 4, 0, 0}, nil)) {
			t.Fatal("not taken")
		}
		frame, delivered, ok := d.Pop(0)
		if !ok || !delivered {
			t.Fatal("not delivered")
		}
		if options, _ := tcpOptions(frame); bytes.Equal(options, []byte{1, 1, 1, 1}) != strip {
			t.Errorf("strip %v: options % x", strip, options)
		}
	}
}

// With StripMPTCPData a SYN keeps its options, and packets that are too large go
// nowhere.
func TestStripDataAndLargestPacket(t *testing.T) {
	option := []byte{optionMPTCP, 4, 0, 0}
	for _, v6 := range []bool{false, true} {
		for _, syn := range []bool{false, true} {
			frame := tcpFrame(v6, option, []byte("data"))
			if syn {
				tcpSegment(frame)[13] = 0x02
			}
			if isSYN(frame) != syn {
				t.Fatalf("v6 %v: a SYN is not seen", v6)
			}
			d, err := New(Shape{StripMPTCPData: true, LargestPacket: len(frame) - ethernetHeader}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if !d.Push(0, frame) {
				t.Fatal("dropped")
			}
			got, delivered, ok := d.Pop(0)
			if options, _ := tcpOptions(got); !ok || !delivered || (options[0] == optionMPTCP) != syn {
				t.Errorf("v6 %v, SYN %v: options %v", v6, syn, options)
			}
			if d.Push(0, tcpFrame(v6, option, []byte("data."))) {
				t.Error("one byte too many came through")
			}
			if n := d.Counters(0).DroppedBlackHole; n != 1 {
				t.Errorf("%d counted", n)
			}
		}
	}
}
