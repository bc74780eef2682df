package audit_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

func TestList(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	minute := 0
	log := open(t, pool, func(c *audit.Config) {
		c.Now = func() time.Time { minute++; return start.Add(time.Duration(minute-1) * time.Minute) }
	})
	run := uuid.NewString()
	for i := range 20 {
		e := audit.Event{Type: audit.APICall, Phase: audit.Result, Call: uuid.NewString(), Project: "p" + strconv.Itoa(i%2), Op: "access_keys.get", Status: 200 + 100*(i%4), Outcome: audit.OK}
		switch {
		case i%5 == 4:
			e = audit.Event{Type: audit.KeyRetired, Project: "p1", Credential: "billing-api", Key: "k1", Rotation: "r1", Run: run, Actor: "alice@host"}
		case i == 10:
			e.Status, e.Outcome = 0, audit.Unknown
		}
		if err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		filter audit.Filter
		want   []int64
	}{
		"limit":      {audit.Filter{Limit: 3}, []int64{0, 1, 2}},
		"newest":     {audit.Filter{Limit: 3, Newest: true}, []int64{17, 18, 19}},
		"since":      {audit.Filter{Since: start.Add(17 * time.Minute)}, []int64{17, 18, 19}},
		"until":      {audit.Filter{Until: start.Add(2 * time.Minute)}, []int64{0, 1}},
		"type":       {audit.Filter{Type: audit.KeyRetired}, []int64{4, 9, 14, 19}},
		"key":        {audit.Filter{Key: "k1", Limit: 2, Newest: true}, []int64{14, 19}},
		"run":        {audit.Filter{Run: run}, []int64{4, 9, 14, 19}},
		"rotation":   {audit.Filter{Rotation: "r1"}, []int64{4, 9, 14, 19}},
		"credential": {audit.Filter{Credential: "billing-api"}, []int64{4, 9, 14, 19}},
		"actor":      {audit.Filter{Actor: "alice@host"}, []int64{4, 9, 14, 19}},
		"status":     {audit.Filter{Status: "300"}, []int64{1, 5, 13, 17}},
		"class":      {audit.Filter{Status: "5xx", Project: "p1"}, []int64{3, 7, 11, 15}},
		"unknown":    {audit.Filter{Outcome: "unknown"}, []int64{10}},
		"operation":  {audit.Filter{Operation: "access_keys.get", Until: start.Add(6 * time.Minute)}, []int64{0, 1, 2, 3, 5}},
		"none":       {audit.Filter{Project: "'; drop table audit.event --"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []int64
			for r, err := range audit.List(t.Context(), pool, c.filter) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.Seq)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, err := range audit.List(t.Context(), pool, audit.Filter{Status: "bad"}) {
		if !errors.Is(err, audit.ErrFilter) {
			t.Errorf("a bad status: %v, want ErrFilter", err)
		}
	}
}

// TestListLeft: a loop that is left gives its connection back.
func TestListLeft(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	if err := log.Append(t.Context(), make120()...); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for r, err := range audit.List(t.Context(), pool, audit.Filter{}) {
			if err != nil || r.Seq > 0 {
				t.Fatal(r, err)
			}
			break
		}
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still busy", n)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	call := uuid.NewString()
	intent := log.Stamp(audit.Event{Type: audit.APICall, Phase: audit.Intent, Call: call, Op: "access_keys.create"})
	between := log.Stamp(audit.Event{Type: audit.Pause})
	outcome := log.Stamp(audit.Event{Type: audit.APICall, Phase: audit.Result, Call: call, Op: "access_keys.create", Status: 200})
	if err := log.Append(t.Context(), intent, between, outcome); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string][]audit.Event{
		intent.ID: {intent, outcome}, outcome.ID: {intent, outcome}, call: {intent, outcome}, "2": {intent, outcome},
		between.ID: {between}, "1": {between},
	} {
		got, err := audit.Show(t.Context(), pool, id)
		if err != nil {
			t.Fatal(err)
		}
		var events []audit.Event
		for _, r := range got {
			events = append(events, r.Event)
		}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	for _, id := range []string{"3", "-1", uuid.NewString(), "x", "", fmt.Sprint(1 << 40)} {
		if _, err := audit.Show(t.Context(), pool, id); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", id, err)
		}
	}
}
