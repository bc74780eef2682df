// Package health answers what keeps a daemon alive and ready: /healthz says
// whether the process does anything at all, /readyz whether it could do its
// work now, and if not, why.
package health

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Check asks one dependency. Its error is shown to whoever asks for /readyz: it
// must hold no secret.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

const (
	// fresh is how long an answer serves for those who ask after it: nobody can
	// hammer a dependency through an endpoint that needs no login.
	fresh = 3 * time.Second
	// patience is what all checks together may take.
	patience = 5 * time.Second
)

// Board collects what the checks say.
type Board struct {
	stuck time.Duration
	pulse atomic.Int64 // unix nanoseconds

	mu      sync.Mutex
	checks  []Check
	why     string // not ready whatever the checks say
	asked   time.Time
	answers map[string]string
	ready   bool
}

// New returns a Board that is not ready, for the reason given. A process whose
// pulse stands still for stuck is not alive.
func New(stuck time.Duration, why string) *Board {
	b := &Board{stuck: stuck, why: why}
	b.Alive()
	return b
}

// Alive says that the process is doing something.
func (b *Board) Alive() { b.pulse.Store(time.Now().UnixNano()) }

// Waiting says why the process cannot start yet.
func (b *Board) Waiting(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.why, b.asked = why, time.Time{}
}

// Started says that from now on the checks tell whether it is ready.
func (b *Board) Started(checks ...Check) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.why, b.checks, b.asked = "", checks, time.Time{}
}

// Register adds /healthz and /readyz. Both answer 200 or 503 with JSON:
//
//	{"ready":false,"checks":{"postgres":"ok","vault":"sealed"}}
func (b *Board) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		still := time.Since(time.Unix(0, b.pulse.Load())).Round(time.Second)
		if still > b.stuck {
			answer(w, false, map[string]any{"alive": false, "reason": fmt.Sprintf("nothing has moved for %s", still)})
			return
		}
		answer(w, true, map[string]any{"alive": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready, checks := b.Ready(r.Context())
		answer(w, ready, map[string]any{"ready": ready, "checks": checks})
	})
}

// Ready asks all checks, unless that was done just now. It returns what each
// said, "ok" or why not.
func (b *Board) Ready(ctx context.Context) (ready bool, checks map[string]string) {
	b.mu.Lock() // whoever comes meanwhile gets the same answer
	defer b.mu.Unlock()
	if b.why != "" {
		return false, map[string]string{"start": b.why}
	}
	if time.Since(b.asked) < fresh {
		return b.ready, b.answers
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	errs := make([]error, len(b.checks))
	var all sync.WaitGroup
	for i, c := range b.checks {
		all.Go(func() { errs[i] = c.Ask(ctx) })
	}
	all.Wait()
	b.ready, b.answers = true, map[string]string{}
	for i, c := range b.checks {
		b.answers[c.Name] = "ok"
		if errs[i] != nil {
			b.ready, b.answers[c.Name] = false, errs[i].Error()
		}
	}
	b.asked = time.Now()
	return b.ready, b.answers
}

func answer(w http.ResponseWriter, good bool, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}
