package jobs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/vault/api"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/state"
)

// refusal is a world in which a key would be deleted, but for one thing that
// a guard minds.
type refusal struct {
	guard  string
	remedy string                                 // what the message tells to do
	world  func(g *rig) (key string)              // the key's overlap is over, or it is an orphan
	order  func(key string) jobs.Order            // nil: a plain run
	cause  func(g *rig, key string) (lift func()) // what the guard minds, and how to end it; nil: edit is
	edit   func(*jobs.Config)                     // of the run that is refused; nil: none
	action jobs.Action                            // of the result; "" is refused
}

// superseded makes a project whose key has been replaced and whose overlap is
// over. It returns that key.
func superseded(g *rig) string {
	old := g.project("p1", "api", 89*day).KeyID
	for _, name := range []string{"b", "c", "d", "e", "f"} {
		g.sim.AddKey("p1", name, time.Now())
	}
	g.run(jobs.Order{}, overlap(lap))
	overlapped(lap)
	return old
}

// orphaned makes a project in which a failed rotation has left a key behind.
// It returns that key.
func orphaned(g *rig) string {
	old := g.project("p1", "api", 89*day).KeyID
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Project: "p1", Times: 1, Do: sinchtest.AppliedLost()})
	g.run(jobs.Order{}, func(c *jobs.Config) { c.MaxDeletions = 0 })
	keys := slices.DeleteFunc(g.listed("p1"), func(id string) bool { return id == old })
	if len(keys) != 1 {
		g.t.Fatalf("listed %v, want %s and an orphan", g.listed("p1"), old)
	}
	return keys[0]
}

// compromised declares just this key compromised.
func compromised(key string) jobs.Order {
	return jobs.Order{Trigger: rotation.Compromised, Reason: "leaked", Request: rotation.Request{Compromised: true, Key: key}}
}

// ahead is a clock that is ahead by so much.
func ahead(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(d) }
}

// hostAhead is a run on a host whose clock is ahead.
func hostAhead(c *jobs.Config) { c.Now = ahead(2 * time.Minute) }

// sinchAhead puts the clock of Sinch ahead, and that of the client which
// compares it with the host's.
func sinchAhead(sinchs, hosts time.Duration) func(*rig, string) func() {
	return func(g *rig, _ string) func() {
		g.sim.SetClockSkew(sinchs)
		g.tune = func(c *sinch.Config) { c.Now = ahead(hosts) }
		return func() {
			g.sim.SetClockSkew(0)
			g.tune = nil
		}
	}
}

var refusals = map[string]refusal{
	"the last key": {
		guard: rotation.GuardLastKey, remedy: "create another one first", world: orphaned,
		cause: func(g *rig, key string) func() {
			for _, id := range g.listed("p1") {
				if id != key {
					g.sim.RemoveKey(id)
				}
			}
			return func() { g.sim.AddKey("p1", "another", time.Now()) }
		},
	},
	"rotator's own key in another process": {
		guard: rotation.GuardOwnKey, remedy: "end one that does not",
		world: func(g *rig) string {
			g.run(force(parent), overlap(lap))
			overlapped(lap)
			return g.own.KeyID
		},
		cause: func(g *rig, key string) func() {
			other, store := uuid.New(), state.New(g.pool)
			if _, err := store.Beat(g.t.Context(), other, "other", key, time.Minute); err != nil {
				g.t.Fatal(err)
			}
			return func() {
				if err := store.Leave(g.t.Context(), other); err != nil {
					g.t.Fatal(err)
				}
			}
		},
	},
	"a listing that lacks a key":          {guard: "incomplete_listing", remedy: "run again", world: superseded, cause: shrunk(1)},
	"a listing that shrank by three keys": {guard: "incomplete_listing", remedy: "run again", world: superseded, cause: shrunk(3)},
	"this host's clock": {
		guard: "clock_skew", remedy: "set this host's clock", world: superseded, cause: sinchAhead(0, 2*time.Minute), edit: hostAhead,
	},
	"Postgres' clock": {
		guard: "clock_skew", remedy: "set the clocks", world: superseded, cause: sinchAhead(2*time.Minute, 2*time.Minute), edit: hostAhead,
	},
	"Sinch's clock": {
		guard: "clock_skew", remedy: "set this host's clock", world: superseded, cause: sinchAhead(-2*time.Minute, 0),
	},
	"a marked name that nobody vouches for": {
		guard: rotation.GuardUnknown, remedy: "delete it in the Sinch dashboard", world: orphaned, order: compromised,
		cause: func(g *rig, key string) func() {
			return g.moved("rotation", fmt.Sprintf("id = '%s'", g.rotationOf(key)))
		},
	},
	"a key out of scope": {
		guard: rotation.GuardUnmanaged, remedy: "include its credential", world: superseded, order: compromised,
		edit: func(c *jobs.Config) { c.Scope.Exclude, _ = rotation.ParsePatterns("api") },
	},
	"an adopted key to be kept": {
		guard: rotation.GuardAdoptKeep, remedy: "delete it in the Sinch dashboard", world: superseded, order: compromised,
		edit: func(c *jobs.Config) { c.Policy.Adopt = rotation.AdoptKeep },
	},
	"somebody else's data at the path": {
		guard: rotation.GuardForeignPath, remedy: "move that data elsewhere", world: superseded,
		cause: func(g *rig, _ string) func() {
			kv, path := g.vault.Client(g.t).KVv2("secret"), g.prefix+"/p1/api"
			current, text := g.stored("p1", "api")
			label := func(custom map[string]any) {
				if err := kv.PutMetadata(g.t.Context(), path, api.KVMetadataPutInput{CustomMetadata: custom}); err != nil {
					g.t.Fatal(err)
				}
			}
			label(map[string]any{})
			if _, err := kv.Put(g.t.Context(), path, map[string]any{"key_id": current, "key_secret": text, "note": "theirs"}); err != nil {
				g.t.Fatal(err)
			}
			return func() { label(map[string]any{"managed_by": "rotator"}) }
		},
	},
	"a limit of deletions": {
		guard: "max_deletions", remedy: "raise it", world: superseded, action: jobs.Skipped,
		edit: func(c *jobs.Config) { c.MaxDeletions = 0 },
	},
}

// shrunk loses n keys of p1's list, which exist.
func shrunk(n int) func(*rig, string) func() {
	return func(g *rig, _ string) func() {
		return g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", Do: sinchtest.DropItems(n)})
	}
}

// rotationOf is the rotation that made the key, by its name.
func (g *rig) rotationOf(key string) string {
	for _, k := range g.sim.Keys("p1") {
		if k.ID == key {
			return rotation.ParseName(k.DisplayName).RotationID
		}
	}
	g.t.Fatalf("there is no key %s", key)
	return ""
}

// moved takes rows out of one of rotator's tables, and returns what puts them
// back.
func (g *rig) moved(table, where string) (back func()) {
	g.t.Helper()
	var rows []byte
	err := g.pool.QueryRow(g.t.Context(), fmt.Sprintf(`WITH gone AS (DELETE FROM rotator.%s WHERE %s RETURNING *) SELECT json_agg(gone) FROM gone`, table, where)).Scan(&rows)
	if err != nil || len(rows) == 0 {
		g.t.Fatalf("taking rows out of %s: %v", table, err)
	}
	return func() {
		if _, err := g.pool.Exec(g.t.Context(), fmt.Sprintf(`INSERT INTO rotator.%s SELECT * FROM json_populate_recordset(NULL::rotator.%[1]s, $1)`, table), rows); err != nil {
			g.t.Fatal(err)
		}
	}
}

// TestGuardsRefuseAloud: each guard keeps a key, and says so: exit code 4, an
// event with the reason, and what to do about it. Without its cause, in the
// same world, the key is deleted.
func TestGuardsRefuseAloud(t *testing.T) {
	t.Parallel()
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			key := c.world(g)
			order, edit, lift := jobs.Order{}, func(*jobs.Config) {}, func() {}
			if c.order != nil {
				order = c.order(key)
			}
			if c.edit != nil {
				edit = c.edit
			}
			if c.cause != nil {
				lift = c.cause(g, key)
			}
			deletes, told := g.sent("access_keys.delete"), len(g.events(audit.Filter{Type: audit.GuardRefused}))
			r := g.run(order, overlap(lap), edit)
			g.wantRefused(r, c, key, told)
			if text, _ := g.sim.Secret(key); !g.sim.Works(key, text) || g.sent("access_keys.delete") != deletes {
				t.Errorf("the key is gone, or a delete was sent")
			}
			lift()
			r = g.run(order, overlap(lap))
			g.wantExit(r, jobs.ExitConverged)
			if text, _ := g.sim.Secret(key); g.sim.Works(key, text) || r.Retired+r.OrphansDeleted != 1 {
				t.Errorf("without the guard's cause the key is still there: %+v", r.Results)
			}
		})
	}
}

// wantRefused fails the test unless the run says that the guard has kept the
// key, why, and what to do. told is how many refusals the log had before.
func (g *rig) wantRefused(r *jobs.Report, c refusal, key string, told int) {
	g.t.Helper()
	g.wantExit(r, jobs.ExitRefused)
	action := c.action
	if action == "" {
		action = jobs.Refused
	}
	res := g.only(r, action)
	if !strings.Contains(string(res.Error), c.remedy) || string(res.OldKeyID) != key {
		g.t.Errorf("result %+v, want key %s and the remedy %q", res, key, c.remedy)
	}
	events := g.events(audit.Filter{Type: audit.GuardRefused})[told:]
	if len(events) != 1 {
		g.t.Fatalf("%d guard.refused events, want 1: %+v", len(events), events)
	}
	e := events[0]
	if guard, reason, _ := strings.Cut(e.Reason, ": "); guard != c.guard || !strings.HasSuffix(string(res.Error), reason) {
		g.t.Errorf("the log says %q, want the guard %s and the result's reason %q", e.Reason, c.guard, res.Error)
	}
	if e.Key != key || e.Project != res.ProjectID || e.Credential != res.Credential || e.Run != r.RunID.String() {
		g.t.Errorf("the log's refusal is about %+v", e)
	}
}
