package evidence_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
)

// The story's period, and what is asked about it.
var (
	from = at("2026-01-01T00:00")
	to   = at("2026-02-01T00:00")
)

// at reads a time of the story.
func at(text string) time.Time {
	t, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// story writes a log day by day: a provider with keys, a run each morning at
// six that lists them, and what else is told in between.
type story struct {
	t     *testing.T
	log   *audit.Log
	clock time.Time

	provider map[string][]audit.Key // by project
	unlisted map[string]bool        // projects whose lists fail
	limit    map[string]int64       // max_age_s by project
	trigger  string                 // of the morning's run; "" for none
}

func newStory(t *testing.T, pool *pgxpool.Pool) *story {
	t.Helper()
	s := &story{
		t: t, clock: at("2025-12-25T00:00"), provider: map[string][]audit.Key{}, unlisted: map[string]bool{},
		limit: map[string]int64{}, trigger: "schedule",
	}
	log, err := audit.Open(t.Context(), audit.Config{
		Pool: pool, Timeout: time.Minute, Now: func() time.Time { return s.clock },
		Common: audit.Event{Actor: "schedule@host", Host: "host", Build: "v1.2.3", ConfigSHA256: "c0ffee"},
	})
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	s.log = log
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := log.Close(ctx); err != nil {
			t.Errorf("closing the log: %v", err)
		}
	})
	return s
}

// until lets the mornings pass up to a time.
func (s *story) until(when time.Time) {
	s.t.Helper()
	for {
		six := s.clock.Truncate(24 * time.Hour).Add(6 * time.Hour)
		if !six.After(s.clock) {
			six = six.Add(24 * time.Hour)
		}
		if six.After(when) {
			break
		}
		s.clock = six
		s.morning()
	}
	s.clock = when
}

// morning is a run that lists every project.
func (s *story) morning() {
	s.t.Helper()
	if s.trigger == "" {
		return
	}
	run := uuid.NewString()
	events := []audit.Event{{Type: audit.RunStarted, Run: run, Trigger: s.trigger, Tick: s.clock, Policy: "max_age=90d"}}
	var projects []string
	for p := range s.provider {
		projects = append(projects, p)
	}
	slices.Sort(projects)
	for _, p := range projects {
		call := audit.Event{Type: audit.APICall, Phase: audit.Result, Run: run, Call: uuid.NewString(), Op: "access_keys.list", Status: 200, Outcome: audit.OK, Project: p}
		if s.unlisted[p] {
			call.Status, call.Outcome = 403, audit.Error
			events = append(events, call)
			continue
		}
		list := audit.Event{Type: audit.InventorySnapshot, Run: run, Project: p, Complete: new(true), InScope: new(true), Keys: s.provider[p], MaxAgeS: s.limit[p]}
		if list.MaxAgeS == 0 {
			list.MaxAgeS = 90 * 86400
		}
		parts, err := audit.SplitSnapshot(list)
		if err != nil {
			s.t.Fatal(err)
		}
		events = append(append(events, call), parts...)
	}
	events = append(events, audit.Event{Type: audit.RunFinished, Run: run, Trigger: s.trigger, Counters: map[string]int64{"projects": int64(len(projects)), "rotated": 1}})
	s.append(events...)
}

// tell appends events at a time.
func (s *story) tell(when string, events ...audit.Event) {
	s.t.Helper()
	s.until(at(when))
	s.append(events...)
}

func (s *story) append(events ...audit.Event) {
	s.t.Helper()
	if err := s.log.Append(s.t.Context(), events...); err != nil {
		s.t.Fatal(err)
	}
}

// has puts a key among the provider's.
func (s *story) has(project, id, name, created, state string) {
	s.provider[project] = append(s.provider[project], audit.Key{ID: id, Name: name, Created: at(created), State: state})
}

// lacks takes a key away at the provider.
func (s *story) lacks(project, id string) {
	s.provider[project] = slices.DeleteFunc(s.provider[project], func(k audit.Key) bool { return k.ID == id })
}

// about is an event of a key or a rotation: "p1/billing-api rot1 new<old".
func about(kind, what string) audit.Event {
	words := strings.Fields(what)
	project, credential, _ := strings.Cut(words[0], "/")
	e := audit.Event{Type: kind, Project: project, Credential: credential}
	if len(words) > 1 && words[1] != "-" {
		e.Rotation = words[1]
	}
	if len(words) > 2 {
		e.Key, e.Replaces, _ = strings.Cut(words[2], "<")
	}
	return e
}

// with changes an event.
func with(e audit.Event, change func(*audit.Event)) audit.Event {
	change(&e)
	return e
}

// because sets who asked for something, how and why.
func because(e audit.Event, trigger, actor, reason string) audit.Event {
	e.Trigger, e.Actor, e.Reason = trigger, actor, reason
	return e
}

// born sets the name and creation time that the provider gave.
func born(e audit.Event, name, created string) audit.Event {
	e.DisplayName, e.KeyCreatedAt = name, at(created)
	return e
}

// call is one phase of a mutating call.
func call(phase audit.Phase, id, op string, status int, outcome audit.Outcome) audit.Event {
	return audit.Event{Type: audit.APICall, Phase: phase, Call: id, Op: op, Status: status, Outcome: outcome, Project: "p1", Credential: "billing-api"}
}
