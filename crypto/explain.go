package crypto

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Role is the side of a connection that we are.
type Role int

// The two sides.
const (
	RoleClient Role = iota + 1
	RoleServer
)

// String returns "client" or "server".
func (r Role) String() string {
	if r == RoleServer {
		return "server"
	}
	return "client"
}

// peer names the other side.
func (r Role) peer() string {
	if r == RoleServer {
		return "client"
	}
	return "server"
}

// HandshakeError says in words why a handshake failed. The original error is
// kept for errors.Is and errors.As.
type HandshakeError struct {
	Problem string
	Mend    string // what to do about it, or ""
	Err     error  // what crypto/tls or the socket returned, or nil
	// RefusedKey: the peer answered that it does not take this side's key.
	RefusedKey bool
}

func (e *HandshakeError) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return e.Problem + " (" + e.Err.Error() + ")"
}

// Hint says how to mend it.
func (e *HandshakeError) Hint() string { return e.Mend }

// Unwrap returns the original error.
func (e *HandshakeError) Unwrap() error { return e.Err }

// TLS alerts that a peer may send, by their numbers in RFC 8446, section 6.
const (
	alertHandshakeFailure       = 40
	alertBadCertificate         = 42
	alertUnsupportedCertificate = 43
	alertCertificateUnknown     = 46
	alertUnknownCA              = 48
	alertAccessDenied           = 49
	alertProtocolVersion        = 70
	alertCertificateRequired    = 116
	alertNoApplicationProtocol  = 120
)

// ExplainHandshake turns an error of a TLS handshake into words with a hint,
// seen from role, whose own key is own. Errors that need no words, nil among
// them, come back as they are.
//
// In TLS 1.3 the client has finished before the server has judged the client's
// key, so a refusal arrives with the client's first Read. Hand every Read
// error before the first byte from the peer to this function too. When the
// first Write fails, Read once more and explain that error instead: the alert
// may be waiting there.
func ExplainHandshake(err error, role Role, own PublicKey) error {
	if err == nil {
		return nil
	}
	// Our own checks in VerifyConnection have said it already.
	var h Hinter
	if errors.As(err, &h) {
		return err
	}
	if alert, ok := remoteAlert(err); ok {
		return explainAlert(err, alert, role, own)
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &HandshakeError{
			Problem: fmt.Sprintf("the %s does not speak TLS: it sent %q", role.peer(), e.RecordHeader[:]),
			Mend:    notBraid(role),
			Err:     err,
		}
	}
	if e := explainLocal(err, role); e != nil {
		return e
	}
	return explainSocket(err, role)
}

// remoteAlert finds the alert that the peer sent. Its type in crypto/tls is
// not exported, only its text is, and that is the same as AlertError's.
func remoteAlert(err error) (alert uint8, ok bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	text := op.Err.Error()
	for n := range 256 {
		if tls.AlertError(n).Error() == text {
			return uint8(n), true
		}
	}
	return 0, false
}

func explainAlert(err error, alert uint8, role Role, own PublicKey) error {
	switch alert {
	case alertBadCertificate, alertUnsupportedCertificate, alertCertificateUnknown,
		alertUnknownCA, alertAccessDenied, alertCertificateRequired:
		if role == RoleServer {
			return &HandshakeError{
				Problem: "the client rejected this server's key",
				Mend:    fmt.Sprintf("in the client's configuration, server_public_key must be %q", own),
				Err:     err, RefusedKey: true,
			}
		}
		return &HandshakeError{
			Problem: "the server refused this client's key",
			Mend:    fmt.Sprintf("add public_key = %q to a [[client]] in the server's configuration", own),
			Err:     err, RefusedKey: true,
		}
	case alertNoApplicationProtocol:
		return noALPN(role, err)
	case alertProtocolVersion, alertHandshakeFailure:
		return noTLS13(role, err)
	default:
		return &HandshakeError{Problem: "the " + role.peer() + " broke off the handshake", Mend: notBraid(role), Err: err}
	}
}

// explainLocal knows what crypto/tls finds out on this side. These errors have
// no types, only texts; where Go changes one, a test fails and the user still
// sees the text itself.
func explainLocal(err error, role Role) error {
	has := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case has("tls: server selected unsupported protocol version"),
		has("tls: client offered only unsupported versions"):
		return noTLS13(role, err)
	case has("tls: client requested unsupported application protocols"),
		has("tls: server selected unadvertised ALPN protocol"):
		return noALPN(role, err)
	case has("tls: client didn't provide a certificate"):
		return &HandshakeError{Problem: "the client showed no key", Mend: notBraid(role), Err: err}
	}
	return nil
}

func explainSocket(err error, role Role) error {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		mend := "check that the address and port are a braid server's; a server that is full or restarting also does this"
		if role == RoleServer {
			mend = "a port scan or a health check does this; if it is a braid client, look at its log"
		}
		return &HandshakeError{Problem: "the " + role.peer() + " closed the connection during the handshake", Mend: mend, Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		mend := "the connection opens but nothing comes back: look for a firewall that drops MPTCP packets on this path"
		if role == RoleServer {
			mend = ""
		}
		return &HandshakeError{Problem: "the " + role.peer() + " did not finish the handshake in time", Mend: mend, Err: err}
	}
	return err
}

func noALPN(role Role, err error) error {
	return &HandshakeError{
		Problem: fmt.Sprintf("the %s does not speak this version of braid's protocol (%s)", role.peer(), ALPN),
		Mend:    "run the same version of braid on both ends, and check that nothing else uses this address and port",
		Err:     err,
	}
}

func noTLS13(role Role, err error) error {
	return &HandshakeError{Problem: "the " + role.peer() + " does not speak TLS 1.3", Mend: notBraid(role), Err: err}
}

// notBraid is the hint for a peer that cannot be braid.
func notBraid(role Role) string {
	if role == RoleServer {
		return "some other program connected to this port; nothing to do unless it was meant to be a braid client"
	}
	return "check the address and port in server: another program answers there, or something in between takes TLS apart"
}
