// Package probe measures what a network does to applications: it serves files
// of known content, echoes datagrams and connections, answers DNS queries and
// runs a real sshd in a lab's hosts, and meters what arrives.
//
// Servers run in goroutines of this process on sockets of the host, sshd in a
// process of the host. All have a Close, which ends them and waits.
package probe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"sync"
)

// blockBytes is the size of a block of content: large writes, small memory.
const blockBytes = 1 << 16

// pattern is a block of incompressible bytes. Each block of content is this one
// with its number in front, so that a block lost, repeated or exchanged for
// another changes the hash.
var pattern = sync.OnceValue(func() *[blockBytes]byte {
	var b [blockBytes]byte
	rand.NewChaCha8([32]byte{}).Read(b[:]) // cannot fail
	return &b
})

// content reads bytes that depend only on their offset.
type content struct {
	block        [blockBytes]byte
	offset, size int64
}

// Content returns a reader of n bytes, always the same for the same n.
func Content(n int64) io.Reader {
	return &content{block: *pattern(), size: n}
}

// next returns the rest of the present block.
func (c *content) next() []byte {
	binary.BigEndian.PutUint64(c.block[:], uint64(c.offset/blockBytes))
	at := c.offset % blockBytes
	return c.block[at:min(blockBytes, at+c.size-c.offset)]
}

// Read implements io.Reader.
func (c *content) Read(b []byte) (int, error) {
	if c.offset == c.size {
		return 0, io.EOF
	}
	n := copy(b, c.next())
	c.offset += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo, which spares io.Copy a copy.
func (c *content) WriteTo(w io.Writer) (written int64, err error) {
	for c.offset < c.size {
		n, err := w.Write(c.next())
		c.offset += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// SHA256 returns the hash of Content(n) in hexadecimal, as sha256sum prints it.
func SHA256(n int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, Content(n)) // neither can fail
	return hex.EncodeToString(h.Sum(nil))
}
