package crypto

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// ends is what both sides saw of one handshake: the errors as the command line
// would print them, and the connection states.
type ends struct {
	client, server           error
	clientState, serverState tls.ConnectionState
}

// handshake connects client and server over loopback. As in braid, the client
// sends first and the server answers, so that what arrives late is seen too.
func handshake(t *testing.T, client, server func(net.Conn) (*tls.Conn, error)) ends {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	var e ends
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			e.server = err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		e.serverState, e.server = converse(c, server, false)
		// Unread data would make the close a reset, and that may overtake the
		// alert.
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	e.clientState, e.client = converse(c, client, true)
	c.Close()
	<-done
	return e
}

func converse(c net.Conn, upgrade func(net.Conn) (*tls.Conn, error), first bool) (tls.ConnectionState, error) {
	tc, err := upgrade(c)
	if err != nil || tc == nil {
		return tls.ConnectionState{}, err
	}
	if err := tc.Handshake(); err != nil {
		return tc.ConnectionState(), err
	}
	word := []byte("hello")
	if first {
		if _, err := tc.Write(word); err != nil {
			return tc.ConnectionState(), err
		}
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(tc, got); err != nil {
		return tc.ConnectionState(), err
	}
	if !bytes.Equal(got, word) {
		return tc.ConnectionState(), errors.New("other data arrived")
	}
	if !first {
		_, err = tc.Write(word)
	}
	return tc.ConnectionState(), err
}

func clientWith(c *tls.Config) func(net.Conn) (*tls.Conn, error) {
	return func(conn net.Conn) (*tls.Conn, error) { return tls.Client(conn, c), nil }
}

func serverWith(c *tls.Config) func(net.Conn) (*tls.Conn, error) {
	return func(conn net.Conn) (*tls.Conn, error) { return tls.Server(conn, c), nil }
}

// raw is a peer that is no TLS at all: it says something and waits.
func raw(say string) func(net.Conn) (*tls.Conn, error) {
	return func(conn net.Conn) (*tls.Conn, error) {
		_, err := io.WriteString(conn, say)
		if say == "" {
			return nil, conn.Close()
		}
		_, _ = io.Copy(io.Discard, conn)
		return nil, err
	}
}

func mustServer(t *testing.T, key PrivateKey, admit ...PublicKey) *tls.Config {
	t.Helper()
	c, err := ServerTLS(key, func(k PublicKey) error {
		for _, a := range admit {
			if a == k {
				return nil
			}
		}
		return errors.New("no client has this key")
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustClient(t *testing.T, key PrivateKey, server PublicKey) *tls.Config {
	t.Helper()
	c, err := ClientTLS(key, server)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func with(c *tls.Config, change func(*tls.Config)) *tls.Config {
	c = c.Clone()
	change(c)
	return c
}

func TestHandshake(t *testing.T) {
	ck, sk := GenerateKey(), GenerateKey()
	client, server := mustClient(t, ck, sk.Public()), mustServer(t, sk, ck.Public())
	for range 3 { // the later ones would resume, if they could
		e := handshake(t, clientWith(client), serverWith(server))
		if e.client != nil || e.server != nil {
			t.Fatalf("client: %v; server: %v", e.client, e.server)
		}
		if k, err := PeerKey(e.clientState); err != nil || k != sk.Public() {
			t.Errorf("the client saw key %v, %v", k, err)
		}
		if k, err := PeerKey(e.serverState); err != nil || k != ck.Public() {
			t.Errorf("the server saw key %v, %v", k, err)
		}
		for side, state := range map[string]tls.ConnectionState{"client": e.clientState, "server": e.serverState} {
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != ALPN || state.DidResume || state.ServerName != "" {
				t.Errorf("%s: version %x, ALPN %q, resumed %v, name %q", side, state.Version, state.NegotiatedProtocol, state.DidResume, state.ServerName)
			}
			if state.CurveID != tls.X25519MLKEM768 {
				t.Errorf("%s: key exchange %v is not the hybrid post-quantum one", side, state.CurveID)
			}
		}
	}
}

// A clock in 1970 or 2200 breaks nothing.
func TestWrongClock(t *testing.T) {
	ck, sk := GenerateKey(), GenerateKey()
	for _, year := range []int{1960, 1970, 2200, 12000} {
		clock := func(c *tls.Config) {
			c.Time = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
		}
		e := handshake(t, clientWith(with(mustClient(t, ck, sk.Public()), clock)), serverWith(with(mustServer(t, sk, ck.Public()), clock)))
		if e.client != nil || e.server != nil {
			t.Errorf("%d: client: %v; server: %v", year, e.client, e.server)
		}
	}
}

func TestNoResumption(t *testing.T) {
	ck, sk := GenerateKey(), GenerateKey()
	client := with(mustClient(t, ck, sk.Public()), func(c *tls.Config) {
		c.SessionTicketsDisabled = false
		c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		c.ServerName = "braid.example" // the cache's key
	})
	server := mustServer(t, sk, ck.Public())
	for range 3 {
		e := handshake(t, clientWith(client), serverWith(server))
		if e.client != nil || e.server != nil || e.clientState.DidResume || e.serverState.DidResume {
			t.Errorf("resumed %v, client: %v, server: %v", e.serverState.DidResume, e.client, e.server)
		}
	}
}

func TestTLSArguments(t *testing.T) {
	key := GenerateKey()
	yes := func(PublicKey) error { return nil }
	for name, make := range map[string]func() (*tls.Config, error){
		"server without key":         func() (*tls.Config, error) { return ServerTLS(PrivateKey{}, yes) },
		"server without authorize":   func() (*tls.Config, error) { return ServerTLS(key, nil) },
		"client without key":         func() (*tls.Config, error) { return ClientTLS(PrivateKey{}, key.Public()) },
		"client without server key":  func() (*tls.Config, error) { return ClientTLS(key, PublicKey{}) },
		"client with the same key":   func() (*tls.Config, error) { return ClientTLS(key, key.Public()) },
		"client with nothing at all": func() (*tls.Config, error) { return ClientTLS(PrivateKey{}, PublicKey{}) },
	} {
		if c, err := make(); err == nil || c != nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestRefused has the words on both sides for every way to fail.
func TestRefused(t *testing.T) {
	ck, sk, other := GenerateKey(), GenerateKey(), GenerateKey()
	client, server := mustClient(t, ck, sk.Public()), mustServer(t, sk, ck.Public())
	rsaCert := rsaCertificate(t)
	edCert, err := certificate(ck)
	if err != nil {
		t.Fatal(err)
	}
	two := tls.Certificate{Certificate: [][]byte{edCert.Certificate[0], edCert.Certificate[0]}, PrivateKey: edCert.PrivateKey}
	stolen := tls.Certificate{Certificate: edCert.Certificate, PrivateKey: other.signer()}
	use := func(c *tls.Config, cert tls.Certificate) *tls.Config {
		return with(c, func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	}
	tls12 := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }
	alpn := func(protos ...string) func(*tls.Config) { return func(c *tls.Config) { c.NextProtos = protos } }
	trusting := func(c *tls.Config) { c.VerifyConnection = nil }

	const (
		refused  = "the server refused this client's key"
		rejected = "the client rejected this server's key"
		noTLS    = "does not speak TLS 1.3"
		noBraid  = "does not speak this version of braid's protocol (braid/1)"
	)
	admit := `add public_key = "` + ck.Public().String() + `" to a [[client]] in the server's configuration`
	mend := `in the client's configuration, server_public_key must be "` + sk.Public().String() + `"`

	tests := map[string]struct {
		client, server         func(net.Conn) (*tls.Conn, error)
		clientSays, serverSays string // "" is success
		clientHint, serverHint string // "" is any
	}{
		"client unknown to the server": {
			client: clientWith(client), server: serverWith(mustServer(t, sk, other.Public())),
			clientSays: refused, clientHint: admit,
			serverSays: "the client with key " + ck.Public().String() + " is refused: no client has this key",
			serverHint: `to admit it, add public_key = "` + ck.Public().String() + `"`,
		},
		"another server": {
			client: clientWith(mustClient(t, ck, other.Public())), server: serverWith(server),
			clientSays: "the server's key is " + sk.Public().String() + ", but the configuration expects " + other.Public().String() + " (server_public_key)",
			clientHint: "run braid pubkey on the server's key file: only if it prints " + sk.Public().String(),
			serverSays: rejected, serverHint: mend,
		},
		"server with a stolen certificate": {
			client: clientWith(mustClient(t, sk, ck.Public())), server: serverWith(use(mustServer(t, other, sk.Public()), stolen)),
			clientSays: "tls: invalid signature by the server certificate: Ed25519 verification failure",
			serverSays: "the client broke off the handshake",
		},
		"client with a stolen certificate": {
			client: clientWith(use(client, stolen)), server: serverWith(server),
			clientSays: "the server broke off the handshake",
			serverSays: "tls: invalid signature by the client certificate: Ed25519 verification failure",
		},
		"client without certificate": {
			client: clientWith(with(client, func(c *tls.Config) { c.Certificates = nil })), server: serverWith(server),
			clientSays: refused, serverSays: "the client showed no key",
		},
		"client with RSA": {
			client: clientWith(use(client, rsaCert)), server: serverWith(server),
			clientSays: refused, serverSays: "not a braid client: the peer's certificate holds a key of type RSA, braid uses Ed25519",
		},
		"server with RSA": {
			client: clientWith(client), server: serverWith(use(server, rsaCert)),
			clientSays: "not a braid server: the peer's certificate holds a key of type RSA", serverSays: rejected,
		},
		"client with two certificates": {
			client: clientWith(use(client, two)), server: serverWith(server),
			clientSays: refused, serverSays: "not a braid client: the peer sent 2 certificates, braid sends exactly one",
		},
		"client with TLS 1.2": {
			client: clientWith(with(client, tls12)), server: serverWith(server),
			clientSays: "the server " + noTLS, serverSays: "the client " + noTLS,
		},
		"server with TLS 1.2": {
			client: clientWith(client), server: serverWith(with(server, tls12)),
			clientSays: "the server " + noTLS, serverSays: "the client " + noTLS,
		},
		"client with another protocol": {
			client: clientWith(with(client, alpn("h2"))), server: serverWith(server),
			clientSays: "the server " + noBraid, serverSays: "the client " + noBraid,
		},
		"client without protocol": {
			client: clientWith(with(client, func(c *tls.Config) { trusting(c); alpn()(c) })), server: serverWith(server),
			clientSays: refused, serverSays: "the client " + noBraid,
		},
		"server with another protocol": {
			client: clientWith(client), server: serverWith(with(server, alpn("h2", "http/1.1"))),
			clientSays: "the server " + noBraid, serverSays: "the client " + noBraid,
		},
		"server without protocol": {
			client: clientWith(client), server: serverWith(with(server, func(c *tls.Config) { trusting(c); alpn()(c) })),
			clientSays: "the server " + noBraid, serverSays: rejected,
		},
		"web server": {
			client: clientWith(client), server: raw("HTTP/1.1 400 Bad Request\r\n\r\n"),
			clientSays: `the server does not speak TLS: it sent "HTTP/"`, clientHint: "check the address and port in server",
		},
		"web browser": {
			client: raw("GET / HTTP/1.1\r\n\r\n"), server: serverWith(server),
			serverSays: `the client does not speak TLS: it sent "GET /"`,
		},
		"server that hangs up": {
			client: clientWith(client), server: raw(""),
			clientSays: "the server closed the connection during the handshake",
		},
		"client that hangs up": {
			client: raw(""), server: serverWith(server),
			serverSays: "the client closed the connection during the handshake",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := handshake(t, quietly(test.client), quietly(test.server))
			judge(t, "client", ExplainHandshake(e.client, RoleClient, ck.Public()), e.client, test.clientSays, test.clientHint)
			judge(t, "server", ExplainHandshake(e.server, RoleServer, sk.Public()), e.server, test.serverSays, test.serverHint)
		})
	}
}

// quietly keeps a hanging peer from holding up the other: it hangs up a little
// earlier than the deadline.
func quietly(upgrade func(net.Conn) (*tls.Conn, error)) func(net.Conn) (*tls.Conn, error) {
	return func(c net.Conn) (*tls.Conn, error) {
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		return upgrade(c)
	}
}

func judge(t *testing.T, side string, got, original error, says, hint string) {
	t.Helper()
	if says == "" {
		if got != nil {
			t.Errorf("%s: %v", side, got)
		}
		return
	}
	if got == nil || !strings.Contains(got.Error(), says) {
		t.Errorf("%s:\n got %v\nwant …%s…", side, got, says)
		return
	}
	if !errors.Is(got, original) {
		t.Errorf("%s: the original error %v is lost", side, original)
	}
	if !strings.Contains(Hint(got), hint) {
		t.Errorf("%s: hint:\n got %s\nwant …%s…", side, Hint(got), hint)
	}
}

func TestRefusalIsTyped(t *testing.T) {
	ck, sk, other := GenerateKey(), GenerateKey(), GenerateKey()
	e := handshake(t, clientWith(mustClient(t, ck, other.Public())), serverWith(mustServer(t, sk, ck.Public())))
	if wrong, ok := errors.AsType[*WrongServerKeyError](e.client); !ok || wrong.Got != sk.Public() || wrong.Want != other.Public() {
		t.Errorf("client: %v", e.client)
	}
	e = handshake(t, clientWith(mustClient(t, ck, sk.Public())), serverWith(mustServer(t, sk)))
	if refused, ok := errors.AsType[*RefusedClientError](e.server); !ok || refused.Key != ck.Public() {
		t.Errorf("server: %v", e.server)
	}
}

func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
