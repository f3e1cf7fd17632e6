package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A reader is told again and again, of what is then.
func TestFollow(t *testing.T) {
	var asked atomic.Uint64
	path := filepath.Join(t.TempDir(), "braid.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, l, func() any { return &Server{Role: RoleServer, Rejected: asked.Add(1)} }, Changes{})
	}()

	enough := errors.New("enough")
	want := uint64(1)
	err = Follow(t.Context(), path, MinInterval, func(b json.RawMessage) error {
		s, err := Decode(b)
		if err != nil {
			return err
		}
		if got := s.(*Server).Rejected; got != want {
			t.Errorf("event %d has %d", want, got)
		}
		if want++; want > 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("Follow: %v", err)
	}

	// The reader ends.
	mine, cancel := context.WithCancel(t.Context())
	if err := Follow(mine, path, time.Minute, func(json.RawMessage) error { cancel(); return nil }); err != nil {
		t.Errorf("Follow after its context ended: %v", err)
	}
	// The daemon ends.
	err = Follow(t.Context(), path, time.Minute, func(json.RawMessage) error { stop(); return nil })
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, errEnded) {
		t.Errorf("Follow after the daemon ended: %v (%T)", err, e)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestFollowRefuses(t *testing.T) {
	path := serve(t, sampleServer)
	err := Follow(t.Context(), path, time.Millisecond, func(json.RawMessage) error { return nil })
	r, ok := errors.AsType[*Refusal](err)
	if !ok || r.Status != http.StatusBadRequest || !strings.Contains(r.Mend, "100 to 60000") {
		t.Errorf("Follow: %v (%T)", err, err)
	}
	err = Follow(t.Context(), path+"x", time.Second, func(json.RawMessage) error { return nil })
	if e, ok := errors.AsType[*Error](err); !ok || e.Mend == "" {
		t.Errorf("Follow without a daemon: %v (%T)", err, err)
	}
}
