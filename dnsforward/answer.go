package dnsforward

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// The header of a message, RFC 1035, section 4.1.1:
//
//	id u16 | QR 1 opcode 4 AA 1 TC 1 RD 1 | RA 1 Z 3 rcode 4 |
//	questions u16 | answers u16 | authorities u16 | additional u16
const (
	headerBytes = 12
	bitQR       = 0x80 // of byte 2
	bitTC       = 0x02
	maskOpcode  = 0x78
	maskRcode   = 0x0f // of byte 3
)

var errForeign = errors.New("the answer is to another question")

// answers reports whether a message is an answer to a query: it has the query's
// ID and repeats its question (RFC 5452, section 9.1).
func answers(message []byte, query *dns.Msg) bool {
	if len(message) < headerBytes || binary.BigEndian.Uint16(message) != query.Id || message[2]&bitQR == 0 ||
		message[2]&maskOpcode != 0 || binary.BigEndian.Uint16(message[4:]) != 1 {
		return false
	}
	end := questionEnd(message)
	if end < 0 {
		return false
	}
	name, _, err := dns.UnpackDomainName(message, headerBytes)
	q := query.Question[0]
	return err == nil && strings.EqualFold(name, q.Name) &&
		binary.BigEndian.Uint16(message[end-4:]) == q.Qtype && binary.BigEndian.Uint16(message[end-2:]) == q.Qclass
}

// questionEnd is where the one question of a message ends, -1 if it does not.
func questionEnd(message []byte) int {
	_, at, err := dns.UnpackDomainName(message, headerBytes)
	if err != nil || at+4 > len(message) {
		return -1
	}
	return at + 4
}

// othersMayKnow reports whether an answer is the server's trouble rather than the
// name's.
func othersMayKnow(answer []byte) bool {
	switch int(answer[3] & maskRcode) {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError:
		return true
	}
	return false
}

// setID gives a message another ID.
func setID(message []byte, id uint16) { binary.BigEndian.PutUint16(message, id) }

// truncate leaves of an answer its header and question, and says that there is
// more, over TCP (RFC 2181, section 9).
func truncate(answer []byte) []byte {
	end := questionEnd(answer)
	if end < 0 {
		return answer
	}
	answer[2] |= bitTC
	clear(answer[6:headerBytes])
	return answer[:end]
}
