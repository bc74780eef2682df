package sinchtest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

// TestFaultsOnCreate checks for each behaviour what the client sees and
// whether the key exists afterwards.
func TestFaultsOnCreate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do      sinchtest.Behaviour
		status  int // 0: no complete answer
		applied bool
		body    string // part of it
	}{
		"answer":         {sinchtest.Answer(418, "teapot", nil), 418, false, "teapot"},
		"applied answer": {sinchtest.AppliedAnswer(204, "", nil), 204, true, ""},
		"500":            {sinchtest.Status(500), 500, false, `"INTERNAL"`},
		"503":            {sinchtest.Status(503), 503, false, `"code":501`},
		"500 though":     {sinchtest.AppliedStatus(500), 500, true, `"INTERNAL"`},
		"503 though":     {sinchtest.AppliedStatus(503), 503, true, `"UNAVAILABLE"`},
		"429":            {sinchtest.RateLimited(""), 429, false, `"RESOURCE_EXHAUSTED"`},
		"lost":           {sinchtest.Lost(), 0, false, ""},
		"applied lost":   {sinchtest.AppliedLost(), 0, true, ""},
		"cut":            {sinchtest.CutBody(), 0, true, `{"acc`},
		"not JSON":       {sinchtest.NotJSON(), 200, true, "<html>"},
		"empty object":   {sinchtest.EmptyObject(), 200, true, "{}"},
		"unknown fields": {sinchtest.UnknownFields(), 200, true, `"experimental":`},
		"delay":          {sinchtest.Delay(time.Millisecond), 200, true, `"secret"`},
		"applied delay":  {sinchtest.AppliedDelay(time.Millisecond), 200, true, `"secret"`},
		"expired tokens": {sinchtest.ExpireTokens(), 401, false, "UNAUTHENTICATED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			g.Fault(sinchtest.Fault{Operation: "access_keys.create", Do: tc.do})
			r := g.do(http.MethodPost, keysPath(child), auth, `{"displayName":"a"}`)
			if lost := r.err != nil; lost != (tc.status == 0) || !lost && r.status != tc.status {
				t.Errorf("status %d err %v, want %d", r.status, r.err, tc.status)
			}
			if !strings.Contains(r.body, tc.body) {
				t.Errorf("body %q lacks %q", r.body, tc.body)
			}
			if exists := len(g.Keys(child)) == 1; exists != tc.applied {
				t.Errorf("key exists: %v, want %v", exists, tc.applied)
			}
			if last := g.Requests()[1]; last.Applied != tc.applied || !last.Done {
				t.Errorf("recorded %+v", last)
			}
		})
	}
}

func TestRateLimitedAsEachAPIDoes(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	g.Fault(sinchtest.Fault{Times: 2, Do: sinchtest.RateLimited("7")})
	r := g.do(http.MethodGet, keysPath(child), auth, "")
	if r.status != 429 || r.header.Get("Retry-After") != "7" || r.header.Get("X-Envoy-Ratelimited") != "" {
		t.Errorf("access keys: %d %v", r.status, r.header)
	}
	r = g.exchange(g.own)
	if r.status != 429 || r.body != "" || r.header.Get("X-Envoy-Ratelimited") != "true" {
		t.Errorf("token endpoint: %d %q %v", r.status, r.body, r.header)
	}
	g.want(g.exchange(g.own), http.StatusOK, "afterwards")
}

func TestErrorStyles(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	g.Fault(sinchtest.Fault{Do: sinchtest.Status(403)})
	for path, want := range map[string][]string{
		keysPath(child):                         {"error"},
		"/v1/projects/" + child + "/trunks":     {"code", "message", "status"},
		"/v3/projects/" + child + "/services":   {"detail", "title", "type"},
		"/probe-base/v1/projects/x/bundles":     {"error"},
		"/v1/projects/x/availableRegions?a=b":   {"detail", "title", "type"},
		"/v1alpha1/projects/x/subprojects":      {"error"},
		"/v1/projects/x/messages?page_size=1":   {"error"},
		"/v1/subprojects/" + child:              {"error"},
		keysPath(child, "/some-key-of-nobody-"): {"error"},
	} {
		if diff := cmp.Diff(want, members(g.do(http.MethodGet, path, auth, "").json(t))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestFaultSelects(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault sinchtest.Fault
		want  []int // statuses of three gets of the rig's key, three of another's, one list
	}{
		"all":       {sinchtest.Fault{}, []int{503, 503, 503, 503, 503, 503, 503}},
		"operation": {sinchtest.Fault{Operation: "access_keys.list"}, []int{200, 200, 200, 200, 200, 200, 503}},
		"project":   {sinchtest.Fault{Project: child}, []int{200, 200, 200, 503, 503, 503, 200}},
		"times":     {sinchtest.Fault{Times: 2}, []int{503, 503, 200, 200, 200, 200, 200}},
		"after":     {sinchtest.Fault{After: 5}, []int{200, 200, 200, 200, 200, 503, 503}},
		"both":      {sinchtest.Fault{Operation: "access_keys.get", After: 1, Times: 2}, []int{200, 503, 503, 200, 200, 200, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			other := g.AddKey(child, "billing", time.Time{})
			tc.fault.Do = sinchtest.Status(503)
			remove := g.Fault(tc.fault)
			var got []int
			paths := []string{keysPath(parent, "/", g.own.KeyID), keysPath(child, "/", other.KeyID)}
			for _, path := range paths {
				for range 3 {
					got = append(got, g.do(http.MethodGet, path, auth, "").status)
				}
			}
			got = append(got, g.do(http.MethodGet, keysPath(parent), auth, "").status)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			remove()
			for _, path := range paths {
				g.want(g.do(http.MethodGet, path, auth, ""), http.StatusOK, "without the fault")
			}
		})
	}
}

func TestFaultByKeyAtTokenEndpoint(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	billing := g.AddKey(child, "billing", time.Time{})
	g.Fault(sinchtest.Fault{Key: billing.KeyID, Do: sinchtest.Status(401)})
	r := g.exchange(billing)
	g.want(r, http.StatusUnauthorized, "the key")
	if r.json(t)["error"] != "invalid_client" {
		t.Errorf("body %s", r.body)
	}
	g.want(g.exchange(g.own), http.StatusOK, "another key")
}

// TestFaultsCombine adds two: the first expires the token, the second loses
// the refusal.
func TestFaultsCombine(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	g.Fault(sinchtest.Fault{Times: 1, Do: sinchtest.ExpireTokens()})
	g.Fault(sinchtest.Fault{Times: 1, Do: sinchtest.AppliedLost()})
	if r := g.do(http.MethodGet, keysPath(child), auth, ""); r.err == nil {
		t.Errorf("answered %d", r.status)
	}
	if got := g.Requests()[1]; got.Applied || got.Status != 0 {
		t.Errorf("recorded %+v", got)
	}
	g.want(g.do(http.MethodGet, keysPath(child), auth, ""), http.StatusUnauthorized, "expired")
}

func TestPageFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do    sinchtest.Behaviour
		times int
		keys  int // listed, of 6 in pages of 2
		pages int // 40: never ends
	}{
		"none":                 {sinchtest.Delay(0), 0, 6, 3},
		"drop one of each":     {sinchtest.DropItems(1), 0, 3, 3},
		"drop a page":          {sinchtest.DropItems(9), 1, 4, 3},
		"empty page":           {sinchtest.EmptyPage(), 1, 6, 4},
		"always empty":         {sinchtest.EmptyPage(), 0, 0, 40},
		"repeated token":       {sinchtest.RepeatToken(), 0, 80, 40},
		"repeated token once":  {sinchtest.RepeatToken(), 1, 8, 4},
		"shuffled":             {sinchtest.Shuffle(1), 0, 6, 3},
		"empty object instead": {sinchtest.EmptyObject(), 1, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			for i := range 6 {
				g.AddKey(child, fmt.Sprint(i), time.Time{})
			}
			g.Fault(sinchtest.Fault{Operation: "access_keys.list", Times: tc.times, Do: tc.do})
			ids, pages := g.walk(auth, keysPath(child), "accessKeys", "accessKeyId", 2)
			if len(ids) != tc.keys || pages != tc.pages {
				t.Errorf("%d keys in %d pages, want %d in %d", len(ids), pages, tc.keys, tc.pages)
			}
		})
	}
}

// TestRepeatedToken wants the very token that was sent, not just one that
// leads to the same page.
func TestRepeatedToken(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	g.Fault(sinchtest.Fault{Do: sinchtest.RepeatToken()})
	next := func(token string) string {
		r := g.do(http.MethodGet, keysPath(parent, "?pageToken=", token), auth, "")
		token, _ = r.json(t)["nextPageToken"].(string)
		return token
	}
	first := next("")
	if second := next(first); first == "" || second != first {
		t.Errorf("tokens %q and %q", first, second)
	}
}

func TestShuffleChangesTheOrder(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	for i := range 10 {
		g.AddKey(child, fmt.Sprint(i), time.Time{})
	}
	list := func() string {
		ids, _ := g.walk(auth, keysPath(child), "accessKeys", "accessKeyId", 0)
		return strings.Join(ids, " ")
	}
	plain := list()
	g.Fault(sinchtest.Fault{Do: sinchtest.Shuffle(7)})
	if shuffled := list(); shuffled == plain || shuffled != list() {
		t.Error("want another order, the same each time")
	}
}

// TestHoldOutlivesTheClient holds a create, lets the client give up, and
// releases it: the key arrives late.
func TestHoldOutlivesTheClient(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied %v", applied), func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			do, held := sinchtest.Hold()
			if applied {
				do, held = sinchtest.AppliedHold()
			}
			g.Fault(sinchtest.Fault{Operation: "access_keys.create", Do: do})

			ctx, giveUp := context.WithCancel(t.Context())
			done := make(chan reply)
			create := g.request(http.MethodPost, keysPath(child), auth, `{"displayName":"late"}`).WithContext(ctx)
			go func() { done <- g.send(create) }()
			if arrived := <-held.Arrived(); arrived.DisplayName != "late" || arrived.Done {
				t.Errorf("arrived %+v", arrived)
			}
			if exists := len(g.Keys(child)) == 1; exists != applied {
				t.Errorf("while held, key exists: %v", exists)
			}
			giveUp()
			if r := <-done; r.err == nil {
				t.Fatalf("answered %d", r.status)
			}
			held.Release()
			held.Release() // once more does no harm
			g.eventually(func() bool { return len(g.Keys(child)) == 1 }, "the released create was not applied")
			g.want(g.do(http.MethodPost, keysPath(child), auth, `{"displayName":"next"}`), http.StatusOK, "after the release")
		})
	}
}

func TestCloseReleases(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	do, held := sinchtest.Hold()
	g.Fault(sinchtest.Fault{Do: do})
	g.Fault(sinchtest.Fault{Do: sinchtest.Delay(time.Hour)})
	done := make(chan reply)
	list := g.request(http.MethodGet, keysPath(child), auth, "")
	go func() { done <- g.send(list) }()
	<-held.Arrived()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err == nil {
		t.Errorf("answered %d", r.status)
	}
	g.eventually(func() bool { return g.Requests()[1].Done }, "the held request survived Close")
}

func TestDown(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.SetDown(true)
	if r := g.exchange(g.own); r.err == nil {
		t.Errorf("answered %d", r.status)
	}
	if n := len(g.Requests()); n != 0 {
		t.Errorf("%d requests recorded while down", n)
	}
	g.SetDown(false)
	g.want(g.exchange(g.own), http.StatusOK, "up again")
}
