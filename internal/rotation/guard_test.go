package rotation_test

import (
	"testing"

	"rotator/internal/rotation"
)

func TestGuardDelete(t *testing.T) {
	t.Parallel()
	failed := rotation.Record{ID: "0f00000000003", Credential: "api", NewKeyID: "k3", State: rotation.Failed}
	orphan := func() *facts { return pair(t, 3).record(failed, 1).key("k3", "api~0f00000000003", 1) }
	tests := map[string]struct {
		facts *facts
		key   string
		want  string // the guard; empty when the key may go
	}{
		"overlap over":    {pair(t, 7), "k1", ""},
		"overlap running": {pair(t, 6.9), "k1", rotation.GuardOverlap},
		"overlap running, compromised": {
			pair(t, 1).with(func(f *rotation.Facts) { f.Request = rotation.Request{Compromised: true, Key: "k1"} }), "k1", "",
		},
		"another key compromised": {
			pair(t, 1).with(func(f *rotation.Facts) { f.Request = rotation.Request{Compromised: true, Key: "k2"} }), "k1", rotation.GuardOverlap,
		},
		"the current key": {pair(t, 7), "k2", rotation.GuardNamedByVault},
		"the current key, compromised": {
			pair(t, 7).with(func(f *rotation.Facts) { f.Request = rotation.Request{Compromised: true, Key: "k2"} }), "k2", rotation.GuardNamedByVault,
		},
		"named by another credential's path": {pair(t, 7).path("web", names("k1", first, 5)), "k1", rotation.GuardNamedByVault},
		"named by a path out of scope": {
			pair(t, 7).path("web", names("k1", first, 5)).with(func(f *rotation.Facts) { f.Scope.Exclude = patterns(t, "web") }), "k1", rotation.GuardNamedByVault,
		},
		"another path that cannot be read": {
			pair(t, 7).with(func(f *rotation.Facts) { f.Paths["web"] = rotation.Path{Err: "sealed"} }), "k1", "",
		},
		"its own path cannot be read": {
			pair(t, 7).with(func(f *rotation.Facts) { f.Paths["api"] = rotation.Path{Err: "sealed"} }), "k1", rotation.GuardPath,
		},
		"its own path was not looked at": {
			pair(t, 7).with(func(f *rotation.Facts) { f.Paths = nil }), "k1", rotation.GuardPath,
		},
		"incomplete":   {pair(t, 7).with(func(f *rotation.Facts) { f.Complete = false }), "k1", rotation.GuardIncomplete},
		"blocked":      {pair(t, 7).with(func(f *rotation.Facts) { f.Blocked.Guard = "clock_skew" }), "k1", "clock_skew"},
		"a live one's": {pair(t, 7).with(func(f *rotation.Facts) { f.Own["k1"] = true }), "k1", rotation.GuardOwnKey},
		"gone":         {pair(t, 7), "k0", rotation.GuardNotListed},
		"successor vanished": {
			pair(t, 7).key("k9", "web", 1).with(func(f *rotation.Facts) { f.Keys = append(f.Keys[:1:1], f.Keys[2:]...) }), "k1", rotation.GuardNotSuperseded,
		},
		"last key": {
			newFacts(t).record(failed, 1).key("k3", "api~0f00000000003", 1), "k3", rotation.GuardLastKey,
		},
		"orphan": {orphan(), "k3", ""},
		"orphan that Vault names": {
			orphan().path("api", names("k2", second, 3), names("k3", "0f00000000003", 1)), "k3", rotation.GuardNamedByVault,
		},
		"orphan that Vault named": {
			orphan().path("api", names("k3", "0f00000000003", 1), names("k2", second, 0)), "k3", rotation.GuardOverlap,
		},
		"orphan, history unknown": {
			orphan().with(func(f *rotation.Facts) { p := f.Paths["api"]; p.Older = nil; f.Paths["api"] = p }), "k3", rotation.GuardHistory,
		},
		"orphan on a foreign path": {
			orphan().with(func(f *rotation.Facts) {
				f.Paths["api"] = rotation.Path{Current: rotation.Version{Number: 1, Readable: true}}
			}), "k3", rotation.GuardForeignPath,
		},
		"orphan, path moved on, without metadata": {
			newFacts(t).record(failed, 1).key("k3", "api~0f00000000003", 1).key("k9", "web", 1).with(func(f *rotation.Facts) {
				f.Paths["api"] = rotation.Path{Current: rotation.Version{Number: 1}}
			}), "k3", "",
		},
		"held":          {held(t), "k1", rotation.GuardAdoptKeep},
		"adopted":       {newFacts(t).key("k1", "api", 1).key("k2", "web", 1), "k1", rotation.GuardNotSuperseded},
		"out of scope":  {pair(t, 7).with(func(f *rotation.Facts) { f.Scope.Exclude = patterns(t, "api") }), "k1", rotation.GuardUnmanaged},
		"break-glass":   {pair(t, 7).key("k9", "api", 300), "k9", rotation.GuardUnmanaged},
		"nobody's mark": {pair(t, 7).key("k9", "api~"+foreign, 300), "k9", rotation.GuardUnknown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guard, reason, ok := rotation.GuardDelete(test.facts.Facts, rotation.Key{ID: test.key})
			if guard != test.want || ok != (test.want == "") {
				t.Errorf("guard %q (%s), want %q", guard, reason, test.want)
			}
			if test.want != "" && test.want != "clock_skew" && len(reason) < 20 {
				t.Errorf("reason %q says nothing", reason)
			}
		})
	}
}
