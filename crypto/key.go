// Package crypto holds braid's keys and its TLS configuration.
//
// The identity of a client or a server is one Ed25519 key pair; there are no
// names, authorities or dates. A key is written as WireGuard's users know it:
// 32 bytes in standard base64, 44 characters. Files:
//
//	key.go      keys and their text
//	keyfile.go  private keys on disk
//	tls.go      TLS 1.3 with both sides pinned to a key
//	explain.go  what a failed handshake means, in words
//	hint.go     errors that know a mend
//
// The package does no network I/O and keeps no state: everything in it may be
// used by many goroutines at once.
package crypto

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the size in bytes of a public key and of a private key.
const KeySize = 32

// keyTextSize is the length of a key's text: 32 bytes in base64, padded.
const keyTextSize = 44

// redacted stands wherever somebody prints a private key.
const redacted = "(private key)"

// keyEncoding is strict: each key has exactly one text, so that texts can be
// compared and what parses is written again identically.
var keyEncoding = base64.StdEncoding.Strict()

// PublicKey is the identity of a client or a server. It is comparable and may
// be a map key. The zero value is no key.
type PublicKey [KeySize]byte

// PrivateKey is the secret behind a PublicKey, an Ed25519 seed. The zero value
// is no key. Copies share the secret, which never changes.
//
// It never prints: every way of formatting, logging or marshalling it gives a
// fixed text. Only Reveal and WriteKeyFile let it out.
type PrivateKey struct {
	// seed is behind a function because fmt cannot call the Format method of a
	// value in an unexported field of somebody's struct, and prints what it
	// finds by reflection. A pointer it follows in some cases; a function never.
	// Besides, nobody compares keys with == by mistake, in variable time.
	seed func() *[KeySize]byte
}

func newPrivateKey(seed *[KeySize]byte) PrivateKey {
	return PrivateKey{seed: func() *[KeySize]byte { return seed }}
}

// KeyError says why a text is not a key. It never contains the text.
type KeyError struct {
	Kind    string // "public key" or "private key"
	Problem string // what is wrong with it
}

func (e *KeyError) Error() string { return "not a " + e.Kind + ": " + e.Problem }

// Hint tells how a right key is made.
func (e *KeyError) Hint() string {
	if e.Kind == "private key" {
		return "make a new key with: braid keygen FILE"
	}
	return "print the public key of a key file with: braid pubkey FILE"
}

// GenerateKey returns a new private key from the system's random source.
func GenerateKey() PrivateKey {
	seed := new([KeySize]byte)
	// Since Go 1.24 Read never fails: it ends the process rather than return
	// weak randomness.
	_, _ = rand.Read(seed[:])
	return newPrivateKey(seed)
}

// ParsePrivateKey reads the text of a private key: 44 characters of base64,
// nothing around them. The error is a *KeyError, without any of the text.
func ParsePrivateKey(text string) (PrivateKey, error) {
	seed := new([KeySize]byte)
	if err := parseKey(seed, "private key", text); err != nil {
		return PrivateKey{}, err
	}
	return newPrivateKey(seed), nil
}

// ParsePublicKey reads the text of a public key: 44 characters of base64,
// nothing around them. The error is a *KeyError.
func ParsePublicKey(text string) (PublicKey, error) {
	var k PublicKey
	if err := parseKey((*[KeySize]byte)(&k), "public key", text); err != nil {
		return PublicKey{}, err
	}
	return k, nil
}

func parseKey(key *[KeySize]byte, kind, text string) error {
	if len(text) != keyTextSize {
		return &KeyError{kind, fmt.Sprintf("it has %d characters, a key has %d (32 bytes in base64)", len(text), keyTextSize)}
	}
	// The decoder wants room for the padding too.
	var buf [KeySize + 1]byte
	n, err := keyEncoding.Decode(buf[:], []byte(text))
	if err != nil {
		return &KeyError{kind, "it is not standard base64 (A-Z, a-z, 0-9, +, / and one = at the end)"}
	}
	if n != KeySize {
		return &KeyError{kind, fmt.Sprintf("it holds %d bytes, a key has %d", n, KeySize)}
	}
	copy(key[:], buf[:])
	clear(buf[:])
	if subtle.ConstantTimeCompare(key[:], make([]byte, KeySize)) == 1 {
		return &KeyError{kind, "all its bytes are zero"}
	}
	return nil
}

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the key's text, 44 characters of base64.
func (k PublicKey) String() string { return keyEncoding.EncodeToString(k[:]) }

// MarshalText returns the key's text. It never fails.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParsePublicKey. On error k is left as it was.
func (k *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// IsZero reports whether k is no key.
func (k PrivateKey) IsZero() bool { return k.seed == nil }

// Equal reports in constant time whether both are the same key.
func (k PrivateKey) Equal(other PrivateKey) bool {
	if k.seed == nil || other.seed == nil {
		return k.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(k.seed()[:], other.seed()[:]) == 1
}

// Public returns the public key, or the zero PublicKey when k is no key.
func (k PrivateKey) Public() PublicKey {
	if k.seed == nil {
		return PublicKey{}
	}
	public, _ := k.signer().Public().(ed25519.PublicKey)
	return PublicKey(public)
}

// Reveal returns the secret itself, 44 characters of base64, or "" when k is
// no key. It is for key files and for a user who asked to see it; never log
// or wrap what it returns.
func (k PrivateKey) Reveal() string {
	if k.seed == nil {
		return ""
	}
	return keyEncoding.EncodeToString(k.seed()[:])
}

// signer expands the seed. k must be a key.
func (k PrivateKey) signer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.seed()[:]) }

// String returns a fixed text.
func (k PrivateKey) String() string { return redacted }

// GoString returns a fixed text.
func (k PrivateKey) GoString() string { return redacted }

// Format writes a fixed text, whatever the verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a fixed text.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a fixed text.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns a fixed text.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
