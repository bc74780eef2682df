package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/rotation"
)

// current is a project with one credential whose published key is so old.
func current(t *testing.T, age float64) *facts {
	t.Helper()
	return newFacts(t).key("k1", "api~"+first, age).
		record(rotation.Record{ID: first, Credential: "api", NewKeyID: "k1", State: rotation.Published}, age).
		path("api", names("k1", first, age))
}

// fill lists keys out of scope until the project holds n.
func (f *facts) fill(t *testing.T, n int) *facts {
	t.Helper()
	f.Scope.Exclude = patterns(t, "other*")
	for i := len(f.Keys); i < n; i++ {
		f.key(fmt.Sprintf("o%d", i), fmt.Sprintf("other-%d", i), 1)
	}
	return f
}

func compromised(f *rotation.Facts) { f.Request = rotation.Request{Compromised: true} }

func TestDecide(t *testing.T) {
	t.Parallel()
	orphan := rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Failed}
	tests := map[string]struct {
		facts *facts
		want  []string
	}{
		"young":        {current(t, 80.9), []string{}},
		"due":          {current(t, 81), []string{"rotate api k1"}},
		"adopted, due": {newFacts(t).key("k1", "api", 400), []string{"rotate api k1"}},
		"excluded": {
			current(t, 90).with(func(f *rotation.Facts) { f.Scope = rotation.Scope{} }), []string{},
		},
		"vanished": {
			current(t, 3).with(func(f *rotation.Facts) { f.Keys = nil; f.Gone["k1"] = true }), []string{"rotate api k1"},
		},
		"vanished, nobody asked yet": {
			current(t, 3).with(func(f *rotation.Facts) { f.Keys = nil }), []string{"skip api k1 unsettled"},
		},
		"listed after all":            {current(t, 3).with(func(f *rotation.Facts) { f.Gone["k1"] = true }), []string{}},
		"within the overlap":          {pair(t, 6.9), []string{}},
		"overlap over":                {pair(t, 7), []string{"retire api k1"}},
		"several, the oldest first":   {current(t, 82).key("k2", "web", 84), []string{"rotate web k2", "rotate api k1"}},
		"own credential comes last":   {current(t, 82).key("k2", "web", 84).with(func(f *rotation.Facts) { f.SelfName = "web" }), []string{"rotate api k1", "rotate web k2"}},
		"incomplete: nothing is made": {current(t, 82).with(func(f *rotation.Facts) { f.Complete = false }), []string{"skip api k1 incomplete_listing"}},
		"orphan goes first": {
			current(t, 82).key("k2", "api~"+second, 1).record(orphan, 1), []string{"delete_orphan api k2", "skip api k1 orphan_first"},
		},
		"orphan alone": {
			current(t, 9).key("k2", "api~"+second, 1).record(orphan, 1), []string{"delete_orphan api k2"},
		},
		"renamed orphan blocks": {
			current(t, 82).key("k2", "mine", 1).record(orphan, 1), []string{"skip api k1 orphan_first"},
		},
		"back-off": {
			current(t, 82).with(func(f *rotation.Facts) { f.NotBefore["api"] = ago(-1) }), []string{"skip api k1 back_off"},
		},
		"back-off, asked for": {
			current(t, 82).with(func(f *rotation.Facts) {
				f.NotBefore["api"] = ago(-1)
				f.Request.Credentials = []string{"api"}
			}), []string{"rotate api k1"},
		},
		"previous key goes first": {
			pair(t, 81).with(func(f *rotation.Facts) { f.Policy.Overlap = 82 * day; f.Policy.MaxAge = 165 * day; clear(f.Records) }),
			[]string{"skip api k2 overlap_running"},
		},
		"but is not waited for until the age limit breaks": {
			pair(t, 81.6).with(func(f *rotation.Facts) { f.Policy.Overlap = 82 * day; f.Policy.MaxAge = 165 * day; clear(f.Records) }),
			[]string{"rotate api k2"},
		},
		"unreadable path": {
			current(t, 3).with(func(f *rotation.Facts) { f.Paths["api"] = rotation.Path{Err: "sealed"} }), []string{"skip api  path_unreadable"},
		},
		"foreign path": {
			newFacts(t).key("k1", "api", 82).with(func(f *rotation.Facts) {
				f.Paths["api"] = rotation.Path{Current: rotation.Version{Number: 1, Readable: true}}
			}), []string{"refuse api k1 foreign_path"},
		},
		"foreign path, deleted": {
			newFacts(t).key("k1", "api", 82).with(func(f *rotation.Facts) {
				f.Paths["api"] = rotation.Path{Current: rotation.Version{Number: 1}}
			}), []string{"refuse api k1 foreign_path"},
		},
		"foreign path that names a key": {
			newFacts(t).key("k1", "api", 82).with(func(f *rotation.Facts) {
				f.Paths["api"] = rotation.Path{Current: rotation.Version{Number: 1, Readable: true, KeyID: "zz", RotationID: foreign}}
			}), []string{"refuse api k1 foreign_path"},
		},
		"metadata lost, a record vouches": {
			current(t, 82).with(func(f *rotation.Facts) { p := f.Paths["api"]; p.Managed = false; f.Paths["api"] = p }), []string{"rotate api k1"},
		},
		"metadata and records lost, a marked key vouches": {
			current(t, 82).with(func(f *rotation.Facts) {
				p := f.Paths["api"]
				p.Managed = false
				f.Paths["api"] = p
				clear(f.Records)
			}), []string{"rotate api k1"},
		},
		"full project":          {current(t, 82).fill(t, 10), []string{"skip api k1 full_project"}},
		"full, compromised":     {current(t, 82).fill(t, 10).with(compromised), []string{"refuse api k1 full_project"}},
		"full, one about to go": {pair(t, 8).fill(t, 10).with(compromised), []string{"retire api k1", "skip api k2 full_project"}},
		"compromised, one slot for all in turn": {
			current(t, 1).key("k2", "web", 84).fill(t, 9).with(compromised), []string{"rotate web k2", "skip api k1 full_project"},
		},
		"one slot for two":        {current(t, 83).key("k2", "web", 84).fill(t, 9), []string{"rotate web k2", "skip api k1 full_project"}},
		"held is not heard of":    {held(t), []string{}},
		"held, but compromised":   {held(t).with(compromised).with(done), []string{"refuse api k1 adopt_keep"}},
		"own key still in use":    {pair(t, 8).with(func(f *rotation.Facts) { f.Own["k1"] = true }), []string{"refuse api k1 own_key"}},
		"nothing may be deleted":  {pair(t, 8).with(func(f *rotation.Facts) { f.Blocked = rotation.Block{Guard: "clock_skew"} }), []string{"refuse api k1 clock_skew"}},
		"emptied path, nothing":   {pair(t, 8).path("api", names("k1", first, 88), unreadable(8)), []string{}},
		"emptied path, age limit": {pair(t, 82).path("api", names("k1", first, 162), unreadable(82)), []string{"rotate api k2"}},
		"onboarding":              {newFacts(t).with(onboard), []string{"rotate hello "}},
		"onboarded":               {newFacts(t).key("k1", "api", 1).with(onboard), []string{}},
		"last key is an orphan": {
			newFacts(t).record(orphan, 1).key("k2", "api~"+second, 1), []string{"refuse api k2 last_key"},
		},
		"two orphans, nothing else": {
			newFacts(t).record(orphan, 1).record(rotation.Record{ID: first, Credential: "web", State: rotation.Planned}, 1).
				key("k2", "api~"+second, 1).key("k3", "web~"+first, 1),
			[]string{"delete_orphan api k2", "refuse web k3 last_key"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.facts.path("")
			plan := rotation.Decide(test.facts.Facts)
			if diff := cmp.Diff(test.want, said(plan)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			for _, s := range plan.Steps {
				if s.Reason == "" && s.Guard != "clock_skew" {
					t.Errorf("%s %s has no reason", s.Action, s.Credential)
				}
			}
		})
	}
}

func held(t *testing.T) *facts {
	t.Helper()
	return newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 8).
		record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Published}, 8).
		path("api", names("k2", second, 8)).with(func(f *rotation.Facts) { f.Policy.Adopt = rotation.AdoptKeep })
}

func onboard(f *rotation.Facts) { f.Onboard = "hello"; f.Paths["hello"] = rotation.Path{} }

func done(f *rotation.Facts) { f.Request.Done = map[string]bool{"api": true} }

func TestRequests(t *testing.T) {
	t.Parallel()
	hour := time.Hour
	tests := map[string]struct {
		facts   *facts
		request rotation.Request
		want    []string
		trigger rotation.Trigger
		overlap time.Duration
	}{
		"force":                     {current(t, 1), rotation.Request{Force: true}, []string{"rotate api k1"}, rotation.Manual, 7 * day},
		"force, carried out":        {current(t, 1), rotation.Request{Force: true, Done: map[string]bool{"api": true}}, []string{}, "", 0},
		"force, another one":        {current(t, 1), rotation.Request{Force: true, Credentials: []string{"web"}}, []string{}, "", 0},
		"due, another one":          {current(t, 82), rotation.Request{Credentials: []string{"web"}}, []string{}, "", 0},
		"force, with an overlap":    {current(t, 1), rotation.Request{Force: true, Overlap: &hour}, []string{"rotate api k1"}, rotation.Manual, hour},
		"force, by key":             {pair(t, 1), rotation.Request{Force: true, Key: "k1"}, []string{"rotate api k2"}, rotation.Manual, 7 * day},
		"an unknown key":            {pair(t, 8), rotation.Request{Force: true, Key: "k7"}, []string{}, "", 0},
		"compromised":               {current(t, 1), rotation.Request{Compromised: true}, []string{"rotate api k1"}, rotation.Compromised, 0},
		"compromised, overlap":      {current(t, 1), rotation.Request{Compromised: true, Overlap: &hour}, []string{"rotate api k1"}, rotation.Compromised, hour},
		"compromised current key":   {pair(t, 1), rotation.Request{Compromised: true, Key: "k2"}, []string{"rotate api k2"}, rotation.Compromised, 0},
		"compromised superseded":    {pair(t, 1), rotation.Request{Compromised: true, Key: "k1"}, []string{"retire api k1"}, "", 0},
		"the same, once rotated":    {pair(t, 1), rotation.Request{Compromised: true, Key: "k1", Done: map[string]bool{"api": true}}, []string{}, "", 0},
		"compromised adopted key":   {newFacts(t).key("k1", "api", 1), rotation.Request{Compromised: true, Key: "k1"}, []string{"rotate api k1"}, rotation.Compromised, 0},
		"compromised unknown key":   {current(t, 1).key("k9", "api~"+foreign, 3), rotation.Request{Compromised: true, Key: "k9"}, []string{"refuse api k9 unknown_marked"}, "", 0},
		"compromised break-glass":   {current(t, 1).key("k9", "api", 3), rotation.Request{Compromised: true, Key: "k9"}, []string{"refuse api k9 unmanaged"}, "", 0},
		"compromised, out of scope": {current(t, 1).fill(t, 2), rotation.Request{Compromised: true, Key: "o1"}, []string{"refuse other-1 o1 unmanaged"}, "", 0},
		"compromised held key":      {held(t), rotation.Request{Compromised: true, Key: "k1"}, []string{"refuse api k1 adopt_keep"}, "", 0},
		"compromised, back-off": {
			current(t, 1).with(func(f *rotation.Facts) { f.NotBefore["api"] = ago(-1) }),
			rotation.Request{Compromised: true},
			[]string{"rotate api k1"},
			rotation.Compromised, 0,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.facts.Request = test.request
			plan := rotation.Decide(test.facts.Facts)
			if diff := cmp.Diff(test.want, said(plan)); diff != "" {
				t.Fatalf("steps (-want +got):\n%s", diff)
			}
			if test.trigger != "" && (plan.Steps[0].Trigger != test.trigger || plan.Steps[0].Overlap != test.overlap) {
				t.Errorf("trigger %s, overlap %s", plan.Steps[0].Trigger, plan.Steps[0].Overlap)
			}
		})
	}
}

func TestFullProjectNamesHolders(t *testing.T) {
	t.Parallel()
	f := current(t, 1).fill(t, 10).with(compromised)
	reason := rotation.Decide(f.Facts).Steps[0].Reason
	for _, k := range f.Keys {
		if !strings.Contains(reason, k.ID) {
			t.Errorf("%s is not named in %q", k.ID, reason)
		}
	}
}

func TestNextCheck(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		facts *facts
		want  time.Time
	}{
		"nothing":      {newFacts(t), time.Time{}},
		"due later":    {current(t, 80), ago(-1)},
		"retire later": {pair(t, 3), ago(3 - 7)},
		"back-off":     {current(t, 82).with(func(f *rotation.Facts) { f.NotBefore["api"] = ago(-0.5) }), ago(-0.5)},
		"whatever the request": {
			current(t, 80).with(func(f *rotation.Facts) { f.Request.Credentials = []string{"web"} }), ago(-1),
		},
		"nothing but what is due": {current(t, 82), time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, rotation.Decide(test.facts.Facts).NextCheck); diff != "" {
				t.Errorf("NextCheck (-want +got):\n%s", diff)
			}
		})
	}
}
