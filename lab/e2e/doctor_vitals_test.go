package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	be "encoding/binary" // the package has a variable of the name
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"braid/lab/daemon"
)

// serveVitals is a server whose clock is ahead: one clock is all that a machine has.
// It proves the server's key, and speaks as much of the protocol as an examination
// needs.
func (w *world) serveVitals(ahead time.Duration) (stop func()) {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(w.Server.ConfigFile()), "key"))
	w.must(err)
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	w.must(err)
	key := ed25519.NewKeyFromSeed(seed)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	w.must(err)
	cfg := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"braid/1"}, SessionTicketsDisabled: true,
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	var l net.Listener
	w.must(w.Net.Server.Do(func() (err error) {
		l, err = lc.Listen(w.ctx, "tcp", netip.AddrPortFrom(w.Net.ServerAddr4, daemon.Port).String())
		return err
	}))
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				vitals(tls.Server(c, cfg), ahead)
			})
		}
	})
	return func() { l.Close(); running.Wait() }
}

// vitals answers one examination (docs/protocol.md, sections 4, 8 and 11).
func vitals(c net.Conn, ahead time.Duration) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(head[1])<<16|int(head[2])<<8|int(head[3]))
		if _, err := io.ReadFull(c, payload); err != nil {
			return
		}
		switch head[0] {
		case 0x04:
			head[0] = 0x05
			_, _ = c.Write(append(head[:], payload...))
		case 0x01, 0x0c:
			b := be.BigEndian.AppendUint64([]byte{0x0d, 0, 0, 33}, uint64(time.Now().Add(ahead).UnixMicro()))
			b = append(b, 1, 4, 198, 51, 100, 6, 0, 80)
			_, _ = c.Write(append(b, make([]byte, 4*4+1)...))
		}
	}
}
