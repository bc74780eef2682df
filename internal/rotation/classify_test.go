package rotation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/rotation"
)

func TestClassification(t *testing.T) {
	t.Parallel()
	failed := rotation.Record{ID: first, Credential: "api", NewKeyID: "k1", State: rotation.Failed}
	lost := rotation.Record{ID: first, Credential: "api", State: rotation.Planned}
	tests := map[string]struct {
		facts *facts
		want  []string
	}{
		"a person's key, no path": {newFacts(t).key("k1", "api", 3), []string{"k1 adopted api"}},
		"an emptied path of ours": {
			newFacts(t).key("k1", "api", 3).path("api", rotation.Version{Readable: true}),
			[]string{"k1 adopted api"},
		},
		"two names of one credential: the exact one": {
			newFacts(t).key("k1", "api (superseded 2025-01-01)", 1).key("k2", "api", 3),
			[]string{"k1 unmanaged api", "k2 adopted api"},
		},
		"break-glass key beside a published one": {
			newFacts(t).key("k1", "api", 3).key("k2", "api~"+first, 2).path("api", names("k2", first, 2)),
			[]string{"k1 unmanaged api", "k2 current api"},
		},
		"out of scope": {
			newFacts(t).key("k1", "api", 3).with(func(f *rotation.Facts) { f.Scope.Exclude = patterns(t, "api") }),
			[]string{"k1 unmanaged api"},
		},
		"another installation's key": {newFacts(t).key("k1", "api~"+foreign, 3), []string{"k1 unknown api"}},
		"Vault is right about what is current": {
			pair(t, 3).path("api", names("k2", second, 9), names("k1", first, 1)),
			[]string{"k1 current api", "k2 superseded api"},
		},
		"Vault knows it under another name": {
			newFacts(t).key("k1", "renamed", 3).path("api", names("k1", first, 3)),
			[]string{"k1 current api"},
		},
		"superseded by history alone": {
			pair(t, 3).with(func(f *rotation.Facts) { clear(f.Records) }),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"superseded by our records alone": {
			pair(t, 3).path("api", unreadable(83), names("k2", second, 3)),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"marked, readable nowhere, not in our records": {
			pair(t, 3).path("api", unreadable(83), names("k2", second, 3)).with(func(f *rotation.Facts) { clear(f.Records) }),
			[]string{"k1 unknown api", "k2 current api"},
		},
		"adopted key that was replaced": {
			newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 3).
				record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Published}, 3).
				path("api", names("k2", second, 3)),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"the same, after a crash before we noted the publication": {
			newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 3).
				record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Verified}, 3).
				path("api", names("k2", second, 3)),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"the same, and the version lacks its rotation id": {
			newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 3).
				record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Verified}, 3).
				path("api", names("k2", "", 3)),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"published, but nobody knows when": {
			pair(t, 3).path("api", unreadable(83), names("k2", second, 3)).with(func(f *rotation.Facts) {
				r := f.Records[first]
				r.PublishedAt = time.Time{}
				f.Records[first] = r
				delete(f.Records, second)
			}),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"the same under keep": {
			newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 3).
				record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Published}, 3).
				path("api", names("k2", second, 3)).with(func(f *rotation.Facts) { f.Policy.Adopt = rotation.AdoptKeep }),
			[]string{"k1 held api", "k2 current api"},
		},
		"keep holds no key of ours": {
			pair(t, 3).with(func(f *rotation.Facts) { f.Policy.Adopt = rotation.AdoptKeep; clear(f.Records) }),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"a failed rotation's key":    {newFacts(t).record(failed, 1).key("k1", "api~"+first, 1), []string{"k1 orphan api"}},
		"a lost create that arrived": {newFacts(t).record(lost, 1).key("k1", "api~"+first, 1), []string{"k1 orphan api"}},
		"renamed by a person":        {newFacts(t).record(failed, 1).key("k1", "mine", 1), []string{"k1 unknown api"}},
		"a name that another key was given": {
			newFacts(t).record(failed, 1).key("k9", "api~"+first, 1),
			[]string{"k9 unknown api"},
		},
		"no orphan, for a version names it": {
			newFacts(t).record(failed, 9).key("k1", "api~"+first, 9).key("k2", "api~"+second, 1).
				path("api", names("k1", first, 9), names("k2", second, 1)),
			[]string{"k1 superseded api", "k2 current api"},
		},
		"path that cannot be read": {
			pair(t, 3).with(func(f *rotation.Facts) { f.Paths["api"] = rotation.Path{Err: "sealed"} }),
			[]string{"k1 unknown api", "k2 unknown api"},
		},
		"a cut name maps back through the record": {
			newFacts(t).record(rotation.Record{ID: first, Credential: "a-long-name", State: rotation.Failed}, 1).key("k1", "a-lo~"+first, 1),
			[]string{"k1 orphan a-long-name"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, states(rotation.Decide(test.facts.Facts))); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverlapEnd(t *testing.T) {
	t.Parallel()
	adopted := func() *facts {
		return newFacts(t).key("k1", "api", 90).key("k2", "api~"+second, 3).
			path("api", names("k2", second, 3))
	}
	replaced := rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Published, Overlap: 2 * day}
	tests := map[string]struct {
		facts *facts
		want  time.Time
	}{
		"policy's overlap from the next version": {pair(t, 3).with(func(f *rotation.Facts) { clear(f.Records) }), ago(3 - 7)},
		"the rotation's own overlap":             {pair(t, 3).record(replaced, 3), ago(3 - 2)},
		"an adopted key: from the rotation":      {adopted().record(replaced, 3), ago(3 - 2)},
		"named again: the note is void": {
			pair(t, 30).path("api", names("k1", first, 110), names("k2", second, 30), names("k1", first, 20), names("k2", "", 5)),
			ago(5 - 7),
		},
		"from the successor, not from what came later": {
			pair(t, 9).path("api", names("k1", first, 89), names("k9", "", 9), names("k2", second, 4)).
				with(func(f *rotation.Facts) { clear(f.Records) }),
			ago(9 - 7),
		},
		"what may have named it too does not count": {
			pair(t, 9).path("api", names("k1", first, 89), unreadable(9), names("k2", second, 4)).
				with(func(f *rotation.Facts) { clear(f.Records) }),
			ago(4 - 7),
		},
		"unless our records say who took over": {
			pair(t, 9).path("api", names("k1", first, 89), unreadable(9), names("k2", second, 4)),
			ago(9 - 7),
		},
		"its own versions destroyed": {
			pair(t, 3).with(func(f *rotation.Facts) { delete(f.Records, second) }).
				path("api", names("k0", "", 100), unreadable(83), names("k2", second, 3)),
			ago(3 - 7),
		},
		"a compromise limits what was handed over before": {
			pair(t, 3).key("k3", "api~0f00000000003", 1).
				record(rotation.Record{ID: "0f00000000003", Credential: "api", OldKeyID: "k2", NewKeyID: "k3", State: rotation.Published, Trigger: rotation.Compromised, Overlap: day}, 1).
				path("api", names("k1", first, 83), names("k2", second, 3), names("k3", "0f00000000003", 1)),
			ago(0),
		},
		"but not what was handed over since": {
			pair(t, 3).record(rotation.Record{ID: first, Credential: "api", OldKeyID: "k0", NewKeyID: "k1", State: rotation.Published, Trigger: rotation.Compromised}, 83),
			ago(3 - 7),
		},
		"nothing has taken over": {pair(t, 3).path("api", names("k1", first, 83), unreadable(3)), time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got time.Time
			for _, v := range rotation.Decide(test.facts.Facts).Keys {
				if v.ID == "k1" {
					got = v.RetireAt
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("RetireAt (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCredentialsAndHistory(t *testing.T) {
	t.Parallel()
	f := newFacts(t).key("k1", "api~"+first, 3).key("k2", "secret/x", 3).key("k3", "lo~"+second, 3).
		record(rotation.Record{ID: second, Credential: "long", State: rotation.Failed}, 3).
		record(rotation.Record{ID: "0f00000000003", Credential: "gone", NewKeyID: "k9", State: rotation.Published}, 3).
		with(func(f *rotation.Facts) { f.Scope.Exclude = patterns(t, "*/secret/*"); f.Onboard = "hello" })
	if diff := cmp.Diff([]string{"api", "gone", "hello", "long"}, rotation.Credentials(f.Facts)); diff != "" {
		t.Errorf("Credentials (-want +got):\n%s", diff)
	}
	f.path("api", names("k1", first, 3)).path("long", names("k8", second, 3))
	for name, want := range map[string]bool{"api": false, "long": true, "gone": false} {
		if got := rotation.NeedsHistory(f.Facts, name); got != want {
			t.Errorf("NeedsHistory(%s) = %v", name, got)
		}
	}
}
