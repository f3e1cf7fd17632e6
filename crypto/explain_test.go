package crypto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplainSocketErrors(t *testing.T) {
	own := GenerateKey().Public()
	closed := "the server closed the connection during the handshake"
	late := "the server did not finish the handshake in time"
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"EOF":           {io.EOF, closed},
		"half a record": {fmt.Errorf("hello: %w", io.ErrUnexpectedEOF), closed},
		"reset":         {&net.OpError{Op: "read", Err: os.NewSyscallError("read", unix.ECONNRESET)}, closed},
		"broken pipe":   {&net.OpError{Op: "write", Err: os.NewSyscallError("write", unix.EPIPE)}, closed},
		"deadline":      {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, late},
		"context":       {context.DeadlineExceeded, late},
		"timed out":     {&net.OpError{Op: "read", Err: os.NewSyscallError("read", unix.ETIMEDOUT)}, late},
	} {
		got := ExplainHandshake(test.err, RoleClient, own)
		if !strings.HasPrefix(got.Error(), test.want) || !errors.Is(got, test.err) || Hint(got) == "" {
			t.Errorf("%s: got %v, hint %q", name, got, Hint(got))
		}
	}
}

// What is our own doing, or already clear, stays as it is.
func TestExplainLeavesAlone(t *testing.T) {
	own := GenerateKey().Public()
	for _, err := range []error{
		nil, net.ErrClosed, context.Canceled, io.ErrClosedPipe, errors.New("something else"),
		&net.OpError{Op: "remote error", Err: errors.New("tls: new alert")},
		fmt.Errorf("wrapped: %w", &WrongServerKeyError{Got: own}),
		&HandshakeError{Problem: "explained", Err: io.EOF},
	} {
		if got := ExplainHandshake(err, RoleClient, own); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// An alert that has no words of its own still says that the peer sent it.
func TestExplainOtherAlert(t *testing.T) {
	err := &net.OpError{Op: "remote error", Err: errors.New("tls: internal error")}
	got := ExplainHandshake(err, RoleServer, PublicKey{})
	if want := "the client broke off the handshake (remote error: tls: internal error)"; got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestHint(t *testing.T) {
	if Hint(nil) != "" || Hint(io.EOF) != "" {
		t.Error("a hint out of nothing")
	}
	err := fmt.Errorf("load: %w", &KeyFileError{Path: "x", Problem: "y", Mend: "do z"})
	if Hint(err) != "do z" {
		t.Errorf("got %q", Hint(err))
	}
	if Hint(errors.Join(io.EOF, err)) != "do z" {
		t.Error("a joined error loses its hint")
	}
}
