package config

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"

	"braid/crypto"
)

// A token is an invite in one line: "braid1:" and, in base64url without padding
// (RFC 4648, section 5),
//
//	length u16, of all that follows
//	server's public key, 32 bytes
//	client's private key, 32 bytes
//	client's name: length u8, UTF-8
//	servers: count u8, then of each
//	    kind u8: 4 an IPv4 address, 6 an IPv6 address, 0 a name
//	    4 bytes; 16 bytes; length u8, ASCII
//	    port u16
//	settings: id u8, length u8, value; ids ascend, defaults are left out
//	    1 tcp: 1 byte, 1 "packets"
//	check u32: CRC-32C (RFC 3720, section 12.1) of "braid1:" and all before it
//
// Integers are big-endian. docs/protocol.md says the same. An invite has one
// token, so that what parses is written again identically.

const (
	tokenPrefix     = "braid1:"
	tokenServers    = 16   // the most that there may be
	tokenMaxBytes   = 8192 // of text: sixteen names of 253 characters, in base64
	settingTCP      = 1
	tcpPacketsValue = 1
)

var (
	tokenEncoding = base64.RawURLEncoding.Strict()
	tokenCheck    = crc32.MakeTable(crc32.Castagnoli)
)

// TokenError says why a text is not a token. It never contains any of it.
type TokenError struct {
	Problem string // what is wrong with it
	Mend    string // what to do about it
}

func (e *TokenError) Error() string { return "not a token: " + e.Problem }

// Hint says how to mend it.
func (e *TokenError) Hint() string { return e.Mend }

const copyWhole = "copy it whole, from braid1: to its last character"

// IsToken reports whether text begins as tokens do, of this or another version.
func IsToken(text string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "braid")
	version, _, colon := strings.Cut(rest, ":")
	return ok && colon && version != "" && strings.Trim(version, "0123456789") == ""
}

// Token returns the invite as a token, or an error that names what is wrong with
// the invite.
func (i Invite) Token() (string, error) {
	if len(i.Servers) == 0 || len(i.Servers) > tokenServers {
		return "", fmt.Errorf("make a token: it holds 1 to %d server addresses, not %d", tokenServers, len(i.Servers))
	}
	if i.ServerKey.IsZero() || i.Key.IsZero() {
		return "", errors.New("make a token: it needs both keys")
	}
	if _, wrong := parseClientName(i.Name); wrong != nil {
		return "", fmt.Errorf("make a token: name %s", wrong.problem)
	}
	private, err := base64.StdEncoding.DecodeString(i.Key.Reveal())
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	body := append([]byte{0, 0}, i.ServerKey[:]...)
	body = append(body, private...)
	body = appendText(body, i.Name)
	body = append(body, byte(len(i.Servers)))
	for _, s := range i.Servers {
		if again, wrong := parseServer(s.String()); wrong != nil || again != s {
			return "", fmt.Errorf("make a token: %q is no server's address", s)
		}
		body = appendServer(body, s)
	}
	if i.tcp() == TCPPackets {
		body = append(body, settingTCP, 1, tcpPacketsValue)
	}
	binary.BigEndian.PutUint16(body, uint16(len(body)-2+crc32.Size))
	body = binary.BigEndian.AppendUint32(body, checkOf(body))
	return tokenPrefix + tokenEncoding.EncodeToString(body), nil
}

func appendText(b []byte, text string) []byte { return append(append(b, byte(len(text))), text...) }

func appendServer(b []byte, s HostPort) []byte {
	if a, ok := s.Addr(); !ok {
		b = appendText(append(b, 0), s.Host)
	} else if a.Is4() {
		b = append(append(b, 4), a.AsSlice()...)
	} else {
		b = append(append(b, 6), a.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, s.Port)
}

// checkOf is the check of what stands before it.
func checkOf(body []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(tokenPrefix), tokenCheck), tokenCheck, body)
}

// ParseToken reads a token. White space around and in it does not count: mail
// and terminals break lines. The error is a *TokenError.
func ParseToken(text string) (Invite, error) {
	i, wrong := parseToken(text)
	if wrong != nil {
		return Invite{}, wrong
	}
	return i, nil
}

func parseToken(text string) (i Invite, wrong *TokenError) {
	bad := func(problem, mend string) (Invite, *TokenError) { return Invite{}, &TokenError{problem, mend} }
	text = strings.Join(strings.Fields(text), "")
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	switch {
	case ok:
	case IsToken(text):
		version, _, _ := strings.Cut(strings.TrimPrefix(text, "braid"), ":")
		return bad("it is of version "+shortened(version)+", and this braid reads version 1", "use the same version of braid on both hosts")
	case text != "" && strings.HasPrefix(tokenPrefix, text):
		return bad("it is cut short", copyWhole)
	default:
		return bad("it does not begin with "+tokenPrefix, "make one on the server with: braid invite NAME")
	}
	if len(text) > tokenMaxBytes {
		return bad("it is longer than any token", copyWhole)
	}
	body, wrong := tokenBody(encoded)
	if wrong != nil {
		return Invite{}, wrong
	}
	r := tokenReader{rest: body[2:]}
	i = r.invite()
	if r.wrong != "" {
		return bad(r.wrong, "use the same version of braid on both hosts")
	}
	return i, nil
}

// tokenBody decodes what stands behind the prefix, and checks length and check;
// it returns what is before the check.
func tokenBody(encoded string) ([]byte, *TokenError) {
	whole := encoded
	if len(whole)%4 == 1 { // no text of whole bytes has such a length
		whole = whole[:len(whole)-1]
	}
	b, err := base64.RawURLEncoding.DecodeString(whole)
	if err != nil {
		return nil, &TokenError{"it has characters that no token has", copyWhole}
	}
	switch {
	case len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)):
		return nil, &TokenError{"it is cut short", copyWhole}
	case len(b)-2 > int(binary.BigEndian.Uint16(b)) || len(whole) != len(encoded):
		return nil, &TokenError{"something stands behind its end", copyWhole}
	}
	split := len(b) - crc32.Size
	const mistyped = "it is mistyped or damaged: its check is wrong"
	if split < 2 || binary.BigEndian.Uint32(b[split:]) != checkOf(b[:split]) {
		return nil, &TokenError{mistyped, copyWhole}
	}
	if tokenEncoding.EncodeToString(b) != encoded {
		return nil, &TokenError{mistyped, copyWhole}
	}
	return b[:split], nil
}

// tokenReader reads what a right check vouches for: a fault in it is another
// program's, not a typing error. After the first it returns zeros.
type tokenReader struct {
	rest  []byte
	wrong string
}

func (r *tokenReader) fail(problem string) {
	if r.wrong == "" {
		r.wrong = problem
	}
	r.rest = nil
}

// bytes returns the next n, which are there even when they are not.
func (r *tokenReader) bytes(n int) []byte {
	if len(r.rest) < n {
		r.fail("its content ends too early")
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *tokenReader) u8() byte     { return r.bytes(1)[0] }
func (r *tokenReader) text() string { return string(r.bytes(int(r.u8()))) }

func (r *tokenReader) invite() (i Invite) {
	public, err := crypto.ParsePublicKey(base64.StdEncoding.EncodeToString(r.bytes(crypto.KeySize)))
	if err != nil {
		r.fail("the server's key in it is none")
	}
	private, err := crypto.ParsePrivateKey(base64.StdEncoding.EncodeToString(r.bytes(crypto.KeySize)))
	if err != nil {
		r.fail("the client's key in it is none")
	}
	i = Invite{ServerKey: public, Key: private, Name: r.text(), TCP: TCPStreams}
	if _, wrong := parseClientName(i.Name); wrong != nil {
		r.fail("the name in it " + wrong.problem)
	}
	n := int(r.u8())
	if n == 0 || n > tokenServers {
		r.fail(fmt.Sprintf("it has %d server addresses", n))
	}
	for range n {
		if r.wrong == "" {
			i.Servers = append(i.Servers, r.server())
		}
	}
	r.settings(&i)
	return i
}

func (r *tokenReader) server() (s HostPort) {
	kind := r.u8()
	switch kind {
	case 0:
		s.Host = r.text()
	case 4:
		s.Host = netip.AddrFrom4([4]byte(r.bytes(4))).String()
	case 6:
		s.Host = netip.AddrFrom16([16]byte(r.bytes(16))).String()
	default:
		r.fail("it has a server address of an unknown kind")
	}
	s.Port = binary.BigEndian.Uint16(r.bytes(2))
	again, wrong := parseServer(s.String())
	_, isAddress := s.Addr()
	if wrong != nil || again != s || isAddress == (kind == 0) {
		r.fail("a server address in it is none")
	}
	return s
}

func (r *tokenReader) settings(i *Invite) {
	last := 0
	for len(r.rest) > 0 {
		id, value := int(r.u8()), r.bytes(int(r.u8()))
		switch {
		case r.wrong != "":
		case id <= last:
			r.fail("its settings are out of order")
		case id == settingTCP && len(value) == 1 && value[0] == tcpPacketsValue:
			i.TCP = TCPPackets
		default:
			r.fail(fmt.Sprintf("it has a setting that this braid does not know (%d)", id))
		}
		last = id
	}
}
