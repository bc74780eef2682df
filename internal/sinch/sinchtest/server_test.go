package sinchtest_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

func TestRequestsAndCounts(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	key, _ := g.create(auth, child, "a")
	g.Fault(sinchtest.Fault{Operation: "access_keys.delete", Do: sinchtest.AppliedLost()})
	g.do(http.MethodDelete, keysPath(child, "/", key.KeyID), auth, "")
	g.do(http.MethodGet, "/v1/projects/"+child+"/trunks", auth, "")
	g.do(http.MethodGet, "/v1/subprojects/"+child, auth, "")
	g.do(http.MethodGet, "/nowhere", auth, "")

	at := g.clock.Now()
	want := []sinchtest.Request{
		{Operation: "token.exchange", Method: "POST", Path: "/oauth2/token", Project: parent, Key: g.own.KeyID, Status: 200, Applied: true},
		{Operation: "access_keys.create", Method: "POST", Path: keysPath(child), Project: child, DisplayName: "a", Status: 200, Applied: true},
		{Operation: "access_keys.delete", Method: "DELETE", Path: keysPath(child, "/", key.KeyID), Project: child, Key: key.KeyID, Applied: true},
		{Operation: "probe.elastic-sip-trunking", Method: "GET", Path: "/v1/projects/child-1/trunks", Project: child, Status: 200, Applied: true},
		{Operation: "subprojects.get", Method: "GET", Path: "/v1/subprojects/child-1", Project: child, Status: 200, Applied: true},
		{Operation: "unknown", Method: "GET", Path: "/nowhere", Status: 404},
	}
	for i := range want {
		want[i].ID, want[i].At, want[i].Done = fmt.Sprintf("req-%08d", i+1), at, true
	}
	if diff := cmp.Diff(want, g.Requests()); diff != "" {
		t.Errorf("Requests (-want +got):\n%s", diff)
	}
	counts := map[string]int{
		"token.exchange 200": 1, "access_keys.create 200": 1, "access_keys.delete 0": 1,
		"probe.elastic-sip-trunking 200": 1, "subprojects.get 200": 1, "unknown 404": 1,
	}
	if diff := cmp.Diff(counts, g.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
}

func TestKeepRequests(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{KeepRequests: 3})
	for range 20 {
		g.exchange(g.own)
	}
	got := g.Requests()
	if len(got) < 3 || len(got) > 6 || got[len(got)-1].ID != "req-00000020" {
		t.Errorf("%d kept, last %s", len(got), got[len(got)-1].ID)
	}
	if n := g.Counts()["token.exchange 200"]; n != 20 {
		t.Errorf("counted %d", n)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	const latency = 30 * time.Millisecond
	g := start(t, sinchtest.Config{Latency: latency})
	began := time.Now()
	g.exchange(g.own)
	if took := time.Since(began); took < latency {
		t.Errorf("took %v", took)
	}
}

// TestConcurrentCreates lets many clients race for ten places and few names.
func TestConcurrentCreates(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{TokenRate: -1})
	auth := g.bearer(g.own)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				body := fmt.Sprintf(`{"displayName":"name %d"}`, (i+j)%14)
				g.send(g.request(http.MethodPost, keysPath(child), auth, body))
				g.Keys(child)
				g.Counts()
			}
		})
	}
	wg.Wait()
	names := map[string]bool{}
	for _, k := range g.Keys(child) {
		names[k.DisplayName] = true
	}
	if len(names) != 10 || len(g.Keys(child)) != 10 {
		t.Errorf("%d keys with %d names, want 10 and 10", len(g.Keys(child)), len(names))
	}
	counts := g.Counts()
	if counts["access_keys.create 200"] != 10 || counts["access_keys.create 400"]+counts["access_keys.create 409"] != 150 {
		t.Errorf("counts %v", counts)
	}
}

func TestSeedingUnknownProjectPanics(t *testing.T) {
	t.Parallel()
	for name, seed := range map[string]func(*sinchtest.Server){
		"key":        func(s *sinchtest.Server) { s.AddKey("nowhere", "a", time.Time{}) },
		"subproject": func(s *sinchtest.Server) { s.AddSubproject("nowhere", "a", "A", nil) },
		"twice":      func(s *sinchtest.Server) { s.AddParent("a", ""); s.AddParent("a", "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			seed(sinchtest.New(sinchtest.Config{}))
		}()
	}
}
