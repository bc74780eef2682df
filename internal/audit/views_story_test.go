package audit_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
)

// teller tells a small, known history, set in January 2026:
//
//	billing  an adopted key is rotated (the create's outcome lost, resolved, and
//	         replayed late), the old one retired; the new one is reported as
//	         compromised, replaced and deleted; one delete is still open
//	sms      a key is overdue because Vault refuses; a person's key stands beside
//	mail     a create is lost, its key found as an orphan and deleted
//	voice    a key vanishes and is replaced
//	fax      a deletion is refused, being of the last key; a superseded key of
//	         the past is reported as compromised and only retired
//
// The schedule stands still from the 10th to the 15th; on the 22nd it is paused.
type teller struct {
	t     testing.TB
	log   *audit.Log
	now   time.Time
	run   string
	calls map[string]string // ids of calls by our names for them
}

// january is a time on a day of the month.
func january(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }

// story writes it into a log.
func story(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	s := &teller{t: t, calls: map[string]string{}}
	s.log = open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return s.now } })
	s.on(10, s.begins("schedule"), audit.Event{Type: audit.PolicyChanged, Policy: "max age 90d, overlap 7d", MaxAgeS: 90 * 86400, OverlapS: new(int64(7 * 86400))})
	s.billing()
	s.sms()
	s.mail()
	s.voice()
	s.fax()
}

// on writes events on a day.
func (s *teller) on(day int, events ...audit.Event) {
	s.t.Helper()
	s.now = january(day)
	for i := range events {
		events[i].Run = s.run
	}
	if err := s.log.Append(s.t.Context(), events...); err != nil {
		s.t.Fatal(err)
	}
}

// begins is a new run.
func (s *teller) begins(trigger string) audit.Event {
	s.run = uuid.NewString()
	return audit.Event{Type: audit.RunStarted, Trigger: trigger, Policy: "max age 90d, overlap 7d"}
}

// api is one row of a call that is known by a name of ours.
func (s *teller) api(phase audit.Phase, name, op string, status int, outcome audit.Outcome, about audit.Event) audit.Event {
	if s.calls[name] == "" {
		s.calls[name] = uuid.NewString()
	}
	about.Type, about.Phase, about.Call, about.Op, about.Status, about.Outcome = audit.APICall, phase, s.calls[name], op, status, outcome
	about.Method, about.URL, about.Attempt = "POST", "https://sinch.example/"+op, 1
	return about
}

// with returns an event of a type with what is common to a credential.
func with(kind string, about audit.Event, change func(*audit.Event)) audit.Event {
	about.Type = kind
	if change != nil {
		change(&about)
	}
	return about
}

// listing is a snapshot of a project's keys.
func listing(project string, maxAge time.Duration, keys ...audit.Key) audit.Event {
	return audit.Event{Type: audit.InventorySnapshot, Project: project, Complete: new(true), InScope: new(true), MaxAgeS: int64(maxAge.Seconds()), Keys: keys}
}

func key(id, name, state string, created time.Time) audit.Key {
	return audit.Key{ID: id, Name: name, State: state, Created: created}
}

// longAge keeps a key from ever being overdue.
const longAge = 100_000 * day

func (s *teller) billing() {
	about := audit.Event{Project: "p-billing", Credential: "billing-api", Rotation: "aaaaaaaaaaaaa", Replaces: "billing-old", Trigger: "schedule"}
	create := with("", about, func(e *audit.Event) { e.DisplayName = "billing-api~aaaaaaaaaaaaa" })
	s.on(10, listing("p-billing", longAge, key("billing-old", "billing-api", "adopted", january(1))),
		s.api(audit.Result, "list", "access_keys.list", 200, audit.OK, audit.Event{Project: "p-billing"}))
	s.on(11, with(audit.RotationPlanned, about, func(e *audit.Event) { e.Reason = "its age of 10d has reached 9d" }),
		s.api(audit.Intent, "create", "access_keys.create", 0, "", create))
	s.on(12, s.api(audit.Resolved, "create", "access_keys.create", 0, audit.OK, create),
		with(audit.RotationCreated, about, func(e *audit.Event) {
			e.Key, e.DisplayName, e.KeyCreatedAt = "billing-new", "billing-api~aaaaaaaaaaaaa", january(11)
		}),
		with(audit.RotationPublished, about, func(e *audit.Event) { e.Key = "billing-new" }),
		with(audit.KeySuperseded, about, func(e *audit.Event) { e.Key, e.Replaces, e.RetireAt = "billing-old", "", january(15) }))
	old := audit.Event{Project: "p-billing", Credential: "billing-api", Key: "billing-old"}
	s.on(15, s.begins("schedule"), s.api(audit.Intent, "delete", "access_keys.delete", 0, "", old),
		s.api(audit.Result, "delete", "access_keys.delete", 0, audit.Unknown, old),
		with(audit.KeyRetired, old, func(e *audit.Event) { e.DisplayName = "billing-api (superseded 2026-01-12)" }))
	about.Rotation, about.Replaces, about.Trigger = "bbbbbbbbbbbbb", "billing-new", "compromised"
	about.Actor, about.Reason = "alice@desk via run-now", "a laptop was lost"
	s.on(16, s.begins("compromised"), with(audit.RotationPlanned, about, nil))
	s.on(17, with(audit.RotationCreated, about, func(e *audit.Event) { e.Key, e.DisplayName = "billing-newer", "billing-api~bbbbbbbbbbbbb" }),
		with(audit.RotationPublished, about, func(e *audit.Event) { e.Key = "billing-newer" }))
	retired := audit.Event{Project: "p-billing", Credential: "billing-api", Key: "billing-new", Trigger: "compromised"}
	s.on(18, with(audit.KeyRetired, retired, nil),
		s.api(audit.Intent, "open", "access_keys.delete", 0, "", audit.Event{Project: "p-billing", Credential: "billing-api", Rotation: "bbbbbbbbbbbbb"}),
		// What was spilled comes late, after the resolution.
		s.api(audit.Result, "create", "access_keys.create", 201, audit.OK, create))
}

func (s *teller) sms() {
	last := listing("p-sms", day, key("sms-human", "break-glass", "unmanaged", january(1)))
	first := listing("p-sms", day, key("sms-late", "sms~0123456789abc (superseded 2026-01-02)", "superseded", january(2)))
	first.Part, first.Parts, last.Part, last.Parts = 1, 2, 2, 2
	s.on(18, first, last, with(audit.RotationFailed, audit.Event{Project: "p-sms", Credential: "sms"}, func(e *audit.Event) { e.Error = "vault said 403" }))
}

func (s *teller) mail() {
	about := audit.Event{Project: "p-mail", Credential: "mail", Rotation: "ccccccccccccc", Trigger: "schedule"}
	current := key("mail-old", "mail", "adopted", january(3))
	s.on(19, s.begins("schedule"), listing("p-mail", longAge, current),
		with(audit.RotationPlanned, about, func(e *audit.Event) { e.Replaces, e.Reason = "mail-old", "it was asked for" }),
		s.api(audit.Intent, "lost", "access_keys.create", 0, "", about),
		s.api(audit.Result, "lost", "access_keys.create", 0, audit.Unknown, about),
		with(audit.RotationFailed, about, func(e *audit.Event) { e.Error = "the answer to the create was lost" }))
	s.on(20, s.begins("schedule"), listing("p-mail", longAge, current, key("mail-orphan", "mail~ccccccccccccc", "orphan", january(19))),
		with(audit.KeyOrphanDeleted, about, func(e *audit.Event) { e.Key, e.Reason = "mail-orphan", "its rotation has failed" }))
}

func (s *teller) voice() {
	about := audit.Event{Project: "p-voice", Credential: "voice", Rotation: "ddddddddddddd", Trigger: "drift"}
	s.on(20, listing("p-voice", longAge, key("voice-old", "voice~0000000000000", "current", january(4))))
	s.on(21, s.begins("schedule"), with(audit.KeyDrift, about, func(e *audit.Event) { e.Key, e.Reason = "voice-old", "Vault names it and Sinch does not list it" }),
		with(audit.RotationPlanned, about, func(e *audit.Event) { e.Replaces, e.Reason = "voice-old", "Vault names it and Sinch does not list it" }),
		with(audit.RotationCreated, about, func(e *audit.Event) {
			e.Key, e.Replaces, e.DisplayName, e.KeyCreatedAt = "voice-new", "voice-old", "voice~ddddddddddddd", january(21)
		}),
		with(audit.RotationPublished, about, func(e *audit.Event) { e.Key, e.Replaces = "voice-new", "voice-old" }))
}

func (s *teller) fax() {
	s.on(22, s.begins("schedule"), listing("p-fax", longAge,
		key("fax-old", "fax (superseded 2026-01-09)", "superseded", january(5)), key("fax-new", "fax~eeeeeeeeeeeee", "current", january(9))),
		with(audit.GuardRefused, audit.Event{Project: "p-fax", Credential: "fax", Key: "fax-new"}, func(e *audit.Event) {
			e.Reason = "last_key: it is the last key of the project"
		}), audit.Event{Type: audit.Pause, Reason: "maintenance", Actor: "bob@desk"})
	s.on(23, audit.Event{Type: audit.Resume, Reason: "done", Actor: "bob@desk"}, s.begins("compromised"))
	s.on(24, with(audit.KeyRetired, audit.Event{Project: "p-fax", Credential: "fax", Key: "fax-old", Trigger: "compromised"}, func(e *audit.Event) {
		e.Actor, e.Reason = "bob@desk via run-now", "found in a public repository"
	}))
	s.on(24, s.begins("schedule"))
}
