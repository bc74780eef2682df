package evidence_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
)

// hostile is what somebody may have put into a key's name.
const hostile = `<script>alert(1)</script>`

// january writes the month's log up to its end.
func january(t *testing.T, pool *pgxpool.Pool) *story {
	t.Helper()
	s := newStory(t, pool)
	s.beginning()
	s.rotations()
	s.differences()
	s.until(to)
	return s
}

// beginning is what is there when the log begins: two projects rotate well,
// the others go wrong each in its own way.
func (s *story) beginning() {
	s.has("p1", "adopted", "billing-api", "2025-11-01T00:00", "current")
	for _, id := range []string{"undead", "vanished", "blinker"} {
		s.has("p2", id, id, "2025-12-01T00:00", "current")
	}
	s.has("p2", "zombie", "zombie", "2025-12-01T00:00", "current")
	s.has("p3", "lonely", "lonely", "2025-12-01T00:00", "current")
	s.provider["p4"], s.unlisted["p4"] = nil, true
	s.has("p5", "old", "sms", "2025-12-10T00:00", "current")
	s.limit["p5"] = 30 * 86400
	s.has("p6", "drifted", "voice", "2025-12-01T00:00", "current")
	s.has("p7", "hostile", hostile, "2025-12-01T00:00", "current")
	s.has("p8", "held", "held", "2025-09-01T00:00", "held")
	s.has("p8", "frozen", "frozen", "2025-10-20T00:00", "current")
	s.tell("2025-12-27T12:00", because(audit.Event{Type: audit.Pause}, "", "bob@desk", "holidays"))
	s.tell("2025-12-28T12:00", because(audit.Event{Type: audit.Resume}, "", "bob@desk", "back"))
	s.tell("2025-12-29T12:00", with(about(audit.PolicyChanged, "p5/"), func(e *audit.Event) { e.Policy, e.MaxAgeS = "max_age=30d", 30*86400 }))
}

// rotations are told in the order of the month.
func (s *story) rotations() {
	const r1, r2, r3, r4, r5 = "aaaaaaaaaaaa1", "aaaaaaaaaaaa2", "aaaaaaaaaaaa3", "aaaaaaaaaaaa4", "aaaaaaaaaaaa5"
	s.tell("2025-12-30T12:00", born(about(audit.KeyRetired, "p2/zombie - zombie"), "zombie", "2025-12-01T00:00")) // and it stays
	s.until(at("2025-12-31T12:00"))
	s.has("p5", "mid", "sms", "2025-12-31T00:00", "current") // somebody's own
	run := uuid.NewString()
	lost, deleted := uuid.NewString(), uuid.NewString()
	s.tell("2026-01-05T10:00", because(about(audit.RotationPlanned, "p1/billing-api "+r1+" <adopted"), "schedule", "schedule@host", "older than 76 days"),
		call(audit.Intent, lost, "access_keys.create", 0, ""))
	s.tell("2026-01-05T10:01", call(audit.Resolved, lost, "access_keys.create", 0, audit.OK),
		born(about(audit.RotationCreated, "p1/billing-api "+r1+" second<adopted"), "billing-api~"+r1, "2026-01-05T10:00"))
	s.has("p1", "second", "billing-api~"+r1, "2026-01-05T10:00", "current")
	s.tell("2026-01-05T10:02", about(audit.RotationVerified, "p1/billing-api "+r1+" second<adopted"))
	s.tell("2026-01-05T10:03", with(about(audit.RotationPublished, "p1/billing-api "+r1+" second<adopted"), func(e *audit.Event) {
		e.VaultPath, e.VaultVersion, e.OverlapS = "sinch/p1/billing-api", 1, new(int64(7*86400))
	}), with(about(audit.KeySuperseded, "p1/billing-api "+r1+" adopted"), func(e *audit.Event) { e.RetireAt = at("2026-01-12T10:03") }))

	s.tell("2026-01-06T11:00", with(about(audit.PolicyChanged, "p2/"), func(e *audit.Event) { e.Policy, e.MaxAgeS = "max_age=90d", 90*86400 }))       // its first
	s.tell("2026-01-06T12:00", with(about(audit.RunStarted, "/"), func(e *audit.Event) { e.Run, e.Trigger, e.ConfigSHA256 = run, "manual", "beef" })) // and never ends
	s.until(at("2026-01-10T12:00"))
	s.has("p2", "lost", "lost~ccccccccccccc", "2026-01-10T00:00", "current") // of which no event tells
	s.tell("2026-01-12T07:00", about(audit.RotationFailed, "p5/sms "+r3), with(about(audit.RotationFailed, "p5/sms "+r4+" orphaned"), func(e *audit.Event) { e.Error = "vault said 403" }))
	s.lacks("p1", "adopted")
	s.tell("2026-01-12T11:00", call(audit.Intent, deleted, "access_keys.delete", 0, ""), call(audit.Result, deleted, "access_keys.delete", 204, audit.OK),
		born(because(about(audit.KeyRetired, "p1/billing-api "+r1+" adopted"), "schedule", "schedule@host", "its overlap is over"), "billing-api", "2025-11-01T00:00"))

	s.lacks("p6", "drifted")
	s.tell("2026-01-14T07:00", because(about(audit.KeyDrift, "p6/voice "+r5+" drifted"), "drift", "schedule@host", "gone at Sinch"),
		because(about(audit.RotationPlanned, "p6/voice "+r5+" <drifted"), "drift", "schedule@host", "gone at Sinch"),
		born(about(audit.RotationCreated, "p6/voice "+r5+" fresh<drifted"), "voice~"+r5, "2026-01-14T07:00"),
		about(audit.RotationPublished, "p6/voice "+r5+" fresh<drifted"))
	s.has("p6", "fresh", "voice~"+r5, "2026-01-14T07:00", "current")

	s.limit["p5"] = 20 * 86400
	s.has("p6", "cutoff", "voice~aaaaaaaaaaaa8", "2026-01-14T08:00", "orphan")
	s.tell("2026-01-14T08:00", born(about(audit.RotationCreated, "p6/voice aaaaaaaaaaaa8 cutoff"), "voice~aaaaaaaaaaaa8", "2026-01-14T08:00"))
	s.tell("2026-01-15T12:00", with(about(audit.PolicyChanged, "p5/"), func(e *audit.Event) { e.Policy, e.MaxAgeS = "max_age=20d", 20*86400 }))
	s.seams()
	s.tell("2026-01-18T07:00", with(about(audit.GuardRefused, "p5/sms - old"), func(e *audit.Event) { e.Reason = "clock_skew: Sinch's clock differs" }))
	s.tell("2026-01-20T10:00", because(about(audit.RotationPlanned, "p1/billing-api "+r2+" <second"), "compromised", "alice@desk", "laptop lost"),
		born(about(audit.RotationCreated, "p1/billing-api "+r2+" third<second"), "billing-api~"+r2, "2026-01-20T10:00"))
	s.has("p1", "third", "billing-api~"+r2, "2026-01-20T10:00", "current")
	s.tell("2026-01-20T10:05", about(audit.RotationPublished, "p1/billing-api "+r2+" third<second"))
	s.lacks("p1", "second")
	s.tell("2026-01-20T10:15", born(because(about(audit.KeyRetired, "p1/billing-api "+r2+" second"), "compromised", "alice@desk", "laptop lost"), "", "2026-01-05T10:00"))
}

// seams are what was done to the log itself, and pauses.
func (s *story) seams() {
	s.tell("2026-01-16T12:00", with(because(audit.Event{Type: audit.AuditRebased}, "", "dba@desk", "db-2 promoted"), func(e *audit.Event) { e.Epoch = 2 }),
		audit.Event{Type: audit.AuditSpillReplayed, Counters: map[string]int64{"events": 3}},
		audit.Event{Type: audit.AuditPartitionDropped, Reason: "older than ten years"},
		audit.Event{Type: audit.AuditExported, Actor: "auditor@desk"}, about(audit.LeaseLost, "p1/"))
	s.tell("2026-01-16T13:00", because(audit.Event{Type: audit.Pause}, "", "bob@desk", "freeze"))
	s.tell("2026-01-16T14:00", because(audit.Event{Type: audit.Pause}, "", "bob@desk", "freeze, said again"))
	s.tell("2026-01-16T15:00", because(audit.Event{Type: audit.Resume}, "", "alice@desk", "thawed"))
}

// differences are what events and lists disagree about.
func (s *story) differences() {
	s.lacks("p5", "old")
	s.tell("2026-01-20T12:00", born(because(about(audit.KeyRetired, "p5/sms - old"), "schedule", "schedule@host", "its overlap is over"), "sms", "2025-12-10T00:00"))
	s.tell("2026-01-20T13:00",
		born(about(audit.KeyRetired, "p2/undead - undead"), "undead", "2025-12-01T00:00"), // and the lists go on showing it
		born(about(audit.RotationCreated, "p2/ghost bbbbbbbbbbbb1 ghost"), "ghost~bbbbbbbbbbbb1", "2026-01-20T13:00"),
		born(about(audit.RotationCreated, "p2/short bbbbbbbbbbbb2 short"), "short~bbbbbbbbbbbb2", "2026-01-20T13:00"),
		born(about(audit.RotationCreated, "p4/blind bbbbbbbbbbbb3 blind"), "blind~bbbbbbbbbbbb3", "2026-01-20T13:00"))
	s.tell("2026-01-20T14:00", born(about(audit.KeyOrphanDeleted, "p2/short bbbbbbbbbbbb2 short"), "short~bbbbbbbbbbbb2", "2026-01-20T13:00"))
	s.unlisted["p3"] = true
	s.lacks("p2", "vanished")
	s.has("p2", "stranger", "stranger", "2026-01-20T15:00", "current")
	s.has("p2", "human", "break-glass", "2026-01-20T15:00", "unmanaged")
	s.has("p2", "early", "early", "2026-01-22T00:00", "current")
	s.until(at("2026-01-21T12:00"))
	s.lacks("p2", "blinker")
	s.until(at("2026-01-22T12:00"))
	s.has("p2", "blinker", "blinker", "2025-12-01T00:00", "current")
	s.lacks("p6", "cutoff") // the process was killed before it could say so
	deleted := with(call(audit.Intent, uuid.NewString(), "access_keys.delete", 0, ""), func(e *audit.Event) { e.Project, e.Key = "p6", "cutoff" })
	s.tell("2026-01-22T12:30", deleted, with(deleted, func(e *audit.Event) { e.Phase, e.Outcome = audit.Resolved, audit.OK }))
	// A list that was cut short says nothing about what it lacks.
	s.tell("2026-01-22T13:00", audit.Event{Type: audit.InventorySnapshot, Project: "p2", Complete: new(false), Keys: s.provider["p2"][:1]})
	s.trigger = "manual"
	s.until(at("2026-01-25T12:00"))
	s.lacks("p2", "lost")
	s.trigger = "schedule"
	s.tell("2026-01-30T12:00", because(audit.Event{Type: audit.Pause}, "", "bob@desk", "freeze again"))
	s.tell("2026-01-31T20:00", because(about(audit.RotationPlanned, "p7/"+hostile+" aaaaaaaaaaaa7 <hostile"), "compromised", `=cmd|"/c calc"`, `</td></tr></table><img src=x onerror=alert(2)>`),
		born(about(audit.RotationCreated, "p7/"+hostile+" aaaaaaaaaaaa7 late<hostile"), hostile+"~aaaaaaaaaaaa7", "2026-01-31T20:00"),
		call(audit.Intent, uuid.NewString(), "access_keys.delete", 0, ""))
	s.has("p7", "late", hostile+"~aaaaaaaaaaaa7", "2026-01-31T20:00", "current")
}

// february goes on after the period: nothing of it may change what a report
// says of January, but for what only a later list shows.
func (s *story) february() {
	s.has("p2", "found", "found", "2026-01-31T21:00", "current")
	s.tell("2026-02-02T12:00", about(audit.RotationPublished, "p7/"+hostile+" aaaaaaaaaaaa7 late<hostile"),
		about(audit.KeySuperseded, "p7/"+hostile+" aaaaaaaaaaaa7 hostile"),
		born(because(about(audit.KeyRetired, "p7/"+hostile+" aaaaaaaaaaaa7 hostile"), "compromised", "alice@desk", "gone in February"), "", "2025-12-01T00:00"),
		because(audit.Event{Type: audit.Resume}, "", "bob@desk", "thawed again"),
		born(about(audit.KeyRetired, "p1/billing-api aaaaaaaaaaaa2 third"), "", "2026-01-20T10:00"),
		with(about(audit.PolicyChanged, "p5/"), func(e *audit.Event) { e.Policy, e.MaxAgeS = "max_age=10d", 10*86400 }))
	s.lacks("p1", "third")
	s.limit["p5"] = 10 * 86400
	s.unlisted["p3"], s.unlisted["p4"] = false, false
	s.has("p4", "blind", "blind~bbbbbbbbbbbb3", "2026-01-20T13:00", "current")
	s.until(at("2026-02-04T12:00"))
}
