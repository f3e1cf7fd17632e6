package crypto

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ALPN is the protocol that both sides must agree on in the TLS handshake.
// Its number changes only when old and new cannot understand each other's
// hello.
const ALPN = "braid/1"

// WrongServerKeyError is the client's: the server it reached is not the one
// that its configuration names.
type WrongServerKeyError struct {
	Got  PublicKey // what the server showed; not proven at this point
	Want PublicKey // server_public_key
}

func (e *WrongServerKeyError) Error() string {
	return fmt.Sprintf("the server's key is %s, but the configuration expects %s (server_public_key)", e.Got, e.Want)
}

// Hint tells how to find out which of the two is right.
func (e *WrongServerKeyError) Hint() string {
	return fmt.Sprintf("run braid pubkey on the server's key file: only if it prints %s, set server_public_key to that; otherwise this is another server or an attacker", e.Got)
}

// RefusedClientError is the server's: it does not admit this client.
type RefusedClientError struct {
	Key PublicKey // what the client showed; not proven at this point
	Err error     // what authorize returned
}

func (e *RefusedClientError) Error() string {
	return fmt.Sprintf("the client with key %s is refused: %v", e.Key, e.Err)
}

// Hint tells how to admit it.
func (e *RefusedClientError) Hint() string {
	return fmt.Sprintf("to admit it, add public_key = %q to a [[client]] in the server's configuration", e.Key)
}

// Unwrap returns what authorize returned.
func (e *RefusedClientError) Unwrap() error { return e.Err }

// ServerTLS returns the server's TLS configuration, to be shared by all its
// connections and not to be changed. key must be a key.
//
// authorize decides whether the client with that key is admitted; its error
// goes into a *RefusedClientError. It is called from many goroutines, and
// before the client has proven that it holds the key: it must only look, and
// what it allows may still fail.
func ServerTLS(key PrivateKey, authorize func(PublicKey) error) (*tls.Config, error) {
	if authorize == nil {
		return nil, errors.New("TLS configuration: no authorize function")
	}
	c, err := baseTLS(key)
	if err != nil {
		return nil, err
	}
	// Any certificate: the key in it is judged below, not who signed it.
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := peerIdentity(state, RoleServer)
		if err != nil {
			return err
		}
		if err := authorize(peer); err != nil {
			return &RefusedClientError{Key: peer, Err: err}
		}
		return nil
	}
	return c, nil
}

// ClientTLS returns the client's TLS configuration, to be shared by all its
// connections and not to be changed. key must be a key. A server with another
// key than server ends the handshake with a *WrongServerKeyError.
func ClientTLS(key PrivateKey, server PublicKey) (*tls.Config, error) {
	if server.IsZero() {
		return nil, errors.New("TLS configuration: no key of the server")
	}
	if key.Public() == server {
		return nil, errors.New("TLS configuration: client and server have the same key, each needs its own")
	}
	c, err := baseTLS(key)
	if err != nil {
		return nil, err
	}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := peerIdentity(state, RoleClient)
		if err != nil {
			return err
		}
		if peer != server {
			return &WrongServerKeyError{Got: peer, Want: server}
		}
		return nil
	}
	return c, nil
}

// PeerKey returns the key of the peer of a connection whose handshake is
// complete, and with it who the peer is.
func PeerKey(state tls.ConnectionState) (PublicKey, error) {
	if n := len(state.PeerCertificates); n != 1 {
		return PublicKey{}, fmt.Errorf("the peer sent %d certificates, braid sends exactly one", n)
	}
	cert := state.PeerCertificates[0]
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != KeySize {
		return PublicKey{}, fmt.Errorf("the peer's certificate holds a key of type %v, braid uses Ed25519", cert.PublicKeyAlgorithm)
	}
	return PublicKey(key), nil
}

// baseTLS is what both sides have in common.
func baseTLS(key PrivateKey) (*tls.Config, error) {
	if key.IsZero() {
		return nil, errors.New("TLS configuration: no private key")
	}
	cert, err := certificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		MaxVersion:   tls.VersionTLS13,
		NextProtos:   []string{ALPN},

		// Chains, names and dates mean nothing here: the key is the identity.
		// VerifyConnection compares it on every handshake, resumed ones
		// included, and the handshake itself proves that the peer holds it.
		// Without ServerName no name goes out in clear.
		InsecureSkipVerify: true,

		// Each connection is authenticated afresh. So there is no ticket key to
		// keep and to rotate, no 0-RTT data to be replayed, and a client whose
		// key was removed cannot come back with an old ticket.
		SessionTicketsDisabled: true,

		// CurvePreferences stays nil: Go's own order, the hybrid post-quantum
		// X25519MLKEM768 first. A test keeps it so.

		// Records as large as they may be from the first byte on: small ones
		// at the start would only help a web page's first paint.
		DynamicRecordSizingDisabled: true,
	}, nil
}

// certificate wraps key in a self-signed certificate, the only form in which
// crypto/tls takes it. It is made at every start and never stored.
func certificate(key PrivateKey) (tls.Certificate, error) {
	signer := key.signer()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "braid"},
		// The dates are never looked at: a router that boots in 1970 needs its
		// VPN to learn the time. They are as wide as the format goes, for
		// programs in between that look nevertheless.
		NotBefore: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(nil, template, template, signer.Public(), signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make TLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer}, nil
}

// peerIdentity is what VerifyConnection checks on both sides: that the peer is
// braid at all, and its key. role is our own.
func peerIdentity(state tls.ConnectionState, role Role) (PublicKey, error) {
	// crypto/tls refuses a peer that wants other protocols, but not one that
	// wants none.
	if state.NegotiatedProtocol != ALPN {
		return PublicKey{}, noALPN(role, nil)
	}
	key, err := PeerKey(state)
	if err != nil {
		return PublicKey{}, &HandshakeError{Problem: "not a braid " + role.peer() + ": " + err.Error(), Mend: notBraid(role)}
	}
	return key, nil
}
