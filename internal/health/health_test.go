package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rotator/internal/health"
)

// get asks an endpoint of the board and returns its status and its JSON.
func get(t *testing.T, b *health.Board, path string) (code int, body map[string]any) {
	t.Helper()
	mux := http.NewServeMux()
	b.Register(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: an answer that may be cached", path)
	}
	return w.Code, body
}

func wants(t *testing.T, b *health.Board, path string, code int, body map[string]any) {
	t.Helper()
	if c, got := get(t, b, path); c != code || !reflect.DeepEqual(got, body) {
		t.Errorf("%s: %d %v, want %d %v", path, c, got, code, body)
	}
}

// TestAlive: a process whose pulse stands still is not alive, until it moves.
func TestAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := health.New(time.Minute, "starting")
		time.Sleep(time.Minute)
		wants(t, b, "/healthz", 200, map[string]any{"alive": true})
		time.Sleep(time.Second)
		wants(t, b, "/healthz", 503, map[string]any{"alive": false, "reason": "nothing has moved for 1m1s"})
		b.Alive()
		wants(t, b, "/healthz", 200, map[string]any{"alive": true})
	})
}

// TestReady: nothing is asked before the start, and then what each check says
// is shown.
func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := health.New(time.Minute, "reading the configuration")
		wants(t, b, "/readyz", 503, map[string]any{"ready": false, "checks": map[string]any{"start": "reading the configuration"}})
		b.Waiting("waiting for Postgres")
		wants(t, b, "/readyz", 503, map[string]any{"ready": false, "checks": map[string]any{"start": "waiting for Postgres"}})

		var sealed error
		b.Started(
			health.Check{Name: "postgres", Ask: func(context.Context) error { return nil }},
			health.Check{Name: "vault", Ask: func(context.Context) error { return sealed }},
		)
		well := map[string]any{"ready": true, "checks": map[string]any{"postgres": "ok", "vault": "ok"}}
		ill := map[string]any{"ready": false, "checks": map[string]any{"postgres": "ok", "vault": "sealed"}}
		wants(t, b, "/readyz", 200, well)
		sealed = errors.New("sealed")
		time.Sleep(3*time.Second - time.Millisecond)
		wants(t, b, "/readyz", 200, well) // asked just now
		time.Sleep(time.Millisecond)
		wants(t, b, "/readyz", 503, ill)
		sealed = nil
		time.Sleep(3 * time.Second)
		wants(t, b, "/readyz", 200, well)
	})
}

// TestReadyEnds: a check that hangs is given five seconds, though whoever asked
// has gone away: others wait for the same answer.
func TestReadyEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := health.New(time.Minute, "starting")
		hangs := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b.Started(health.Check{Name: "postgres", Ask: hangs}, health.Check{Name: "vault", Ask: hangs})
		begun := time.Now()
		gone, leave := context.WithCancel(t.Context())
		leave()
		ready, checks := b.Ready(gone)
		if took := time.Since(begun); ready || checks["vault"] != context.DeadlineExceeded.Error() || took != 5*time.Second {
			t.Errorf("ready %v after %s: %v", ready, took, checks)
		}
	})
}

// TestReadyIsAskedOnce: nobody can hammer a dependency through the endpoint.
func TestReadyIsAskedOnce(t *testing.T) {
	t.Parallel()
	b := health.New(time.Minute, "starting")
	var asked atomic.Int32
	going := make(chan struct{})
	b.Started(health.Check{Name: "vault", Ask: func(context.Context) error {
		asked.Add(1)
		<-going
		return nil
	}})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			wants(t, b, "/readyz", 200, map[string]any{"ready": true, "checks": map[string]any{"vault": "ok"}})
		})
	}
	close(going)
	all.Wait()
	if asked.Load() != 1 {
		t.Errorf("the check was asked %d times", asked.Load())
	}
}
