package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"braid/crypto"
	"braid/doctor"
	"braid/tunnel"
	"braid/tunnel/wire"
)

func TestIsClientConfig(t *testing.T) {
	for text, want := range map[string]bool{
		"server = [\"a:443\"]\n":                true,
		"# listen = no\nserver_public_key = 7":  true,
		"listen = [\":443\"]\n[[client]]\n":     false,
		"[tunnel]\n\n[[client]]\nname = \"a\"":  false,
		"private_key_file = \"k\"\nlisten=[]\n": false,
	} {
		if got := isClientConfig(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestOutcome(t *testing.T) {
	for _, test := range []struct {
		err  error
		want doctor.Outcome
	}{
		{nil, doctor.Answered}, {fmt.Errorf("connect: %w", unix.ECONNREFUSED), doctor.Refused}, {context.DeadlineExceeded, doctor.Silent},
		{unix.EHOSTUNREACH, doctor.Unreachable}, {unix.EPERM, doctor.Blocked}, {errors.New("else"), doctor.Failed},
	} {
		if got := outcome(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
	for _, test := range []struct {
		err  error
		want doctor.Verdict
	}{
		{context.DeadlineExceeded, doctor.Hung}, {&crypto.WrongServerKeyError{}, doctor.WrongServerKey},
		{&crypto.HandshakeError{RefusedKey: true}, doctor.WrongClientKey}, {&crypto.HandshakeError{}, doctor.NoBraid},
		{&tunnel.RefusedError{Code: wire.RefuseBusy}, doctor.Busy}, {&tunnel.RefusedError{Code: wire.RefuseVersion}, doctor.OtherProtocol},
		{&crypto.HandshakeError{Err: os.ErrDeadlineExceeded}, doctor.Hung},
	} {
		if got := verdictOf(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	list := []time.Duration{5, 1, 4, 2, 3, 10, 9, 8, 7, 6}
	if quantile(list, 0.5) != 6 || quantile(list, 0.9) != 10 || quantile(list[:1], 0.9) != 5 || list[0] != 5 {
		t.Error(quantile(list, 0.5), quantile(list, 0.9), list)
	}
}

func TestSameListen(t *testing.T) {
	every := netip.AddrPortFrom(netip.IPv6Unspecified(), 443)
	if !sameListen("[::]:443", every) || !sameListen("0.0.0.0:443", every) || sameListen("[::]:444", every) ||
		sameListen("[::1]:443", netip.MustParseAddrPort("127.0.0.1:443")) || sameListen("nonsense", every) {
		t.Error("wrong")
	}
}

// A configuration that cannot be read is a finding like another.
func TestDoctorOfBadConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "client.toml")
	if err := os.WriteFile(path, []byte("server = []\nspeed = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := command(t, "doctor", "-c", path)
	if code != exitFailed || !strings.Contains(out, "the configuration cannot be used") || !strings.Contains(out, "speed") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if code, _, stderr := command(t, "doctor", "--load=some"); code != exitUsage || !strings.Contains(stderr, "none, unmetered or all") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
