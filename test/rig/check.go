package rig

import (
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"rotator/internal/rotation"
)

// Check fails the test unless everything is as it should be when rotator says
// that it has converged. want says how many keys a project should have, where
// that is known.
func (w *World) Check(want map[string]int) {
	w.T.Helper()
	w.CheckKeys(want)
	w.CheckSent()
	w.CheckIntents()
	w.CheckRotations()
	w.CheckLog()
}

// CheckKeys checks that Vault names keys that work and are not past their age,
// one in each subproject, and that every other key that a rotation made was
// published once. There is no orphan.
func (w *World) CheckKeys(want map[string]int) {
	w.T.Helper()
	current, once := map[string]bool{}, map[string]bool{}
	for _, c := range w.Credentials {
		current[w.CheckNamed(c.Project, c.Name)] = true
		w.history(c, once)
	}
	published := map[string]bool{}
	for _, id := range w.Strings(`select key_id from audit.event where type = 'rotation.published'`) {
		published[id] = true
	}
	for _, project := range w.projects() {
		keys, now := w.Sim.Keys(project), 0
		for _, k := range keys {
			ours, young := rotation.ParseName(k.DisplayName).RotationID != "", time.Since(k.CreateTime) < Day
			switch {
			case ours && !current[k.ID] && !once[k.ID]:
				w.T.Errorf("%s: key %s (%s) is an orphan", project, k.ID, k.DisplayName)
			case ours && young && !published[k.ID]:
				w.T.Errorf("%s: the log does not tell of the publication of key %s (%s)", project, k.ID, k.DisplayName)
			case current[k.ID] && time.Since(k.CreateTime) > 90*Day:
				w.T.Errorf("%s: Vault still names the old key", project)
			}
			if current[k.ID] {
				now++
			}
		}
		if project != Parent && now != 1 {
			w.T.Errorf("%s: %d of its keys are current", project, now)
		}
		if n, ok := want[project]; ok && n != len(keys) {
			w.T.Errorf("%s has %d keys, want %d: %+v", project, len(keys), n, keys)
		}
	}
}

// history adds the keys that older versions of a credential's path name.
func (w *World) history(c Credential, once map[string]bool) {
	w.T.Helper()
	kv, path := w.Vault.KVv2("secret"), w.Path(c.Project, c.Name)
	versions, err := kv.GetVersionsAsList(w.T.Context(), path)
	if err != nil && !errors.Is(err, api.ErrSecretNotFound) {
		w.T.Fatalf("listing the versions of %s: %v", path, err)
	}
	for _, v := range versions {
		if v.Destroyed || !v.DeletionTime.IsZero() {
			continue
		}
		old, err := kv.GetVersion(w.T.Context(), path, v.Version)
		if err != nil {
			w.T.Fatalf("reading version %d of %s: %v", v.Version, path, err)
		}
		id, _ := old.Data["key_id"].(string)
		once[id] = true
	}
}

// CheckNamed fails the test unless Vault's path names a key that works.
func (w *World) CheckNamed(project, name string) (key string) {
	w.T.Helper()
	_, key, secret, err := w.Named(w.Path(project, name))
	if err != nil {
		w.T.Errorf("reading Vault's path of %s/%s: %v", project, name, err)
	}
	if !w.Sim.Works(key, secret) {
		w.T.Errorf("%s/%s: Vault names key %q, which does not work", project, name, key)
	}
	return key
}

// CheckSent checks that nothing was changed without an intent, which came
// first, and that no name of a create was ever sent twice.
func (w *World) CheckSent() {
	w.T.Helper()
	type intent struct {
		What string
		At   time.Time
	}
	open := map[string][]time.Time{}
	for _, i := range rows(w, pgx.RowToStructByPos[intent], `select what, occurred_at from (`+intents+`) i order by occurred_at`) {
		open[i.What] = append(open[i.What], i.At)
	}
	created := map[string]bool{}
	for _, s := range w.Gate.All() {
		first := open[s.What]
		switch {
		case len(first) == 0:
			w.T.Errorf("%s was sent without an intent", s.What)
			continue
		case first[0].After(s.At), !s.Vouched:
			w.T.Errorf("%s was sent before its intent was committed", s.What)
		}
		open[s.What] = first[1:]
		if strings.HasPrefix(s.What, "access_keys.create|") {
			if created[s.What] {
				w.T.Errorf("%s was sent twice", s.What)
			}
			created[s.What] = true
		}
	}
}

// CheckAnswers checks that every answer that Sinch gave stands in the log once,
// with its status. Those that did not arrive stand there without one.
func (w *World) CheckAnswers() {
	w.T.Helper()
	type row struct {
		Request, Op string
		Status      int
	}
	answers, lost := map[string][]row{}, map[string]int{}
	for _, r := range rows(w, pgx.RowToStructByPos[row], `select coalesce(body->>'request_id', ''), operation, coalesce(http_status, 0)::int
		from audit.event where phase = 'outcome' and operation not like 'vault.%'`) {
		if r.Status == 0 {
			lost[r.Op]++
		} else {
			answers[r.Request] = append(answers[r.Request], r)
		}
	}
	for _, r := range w.Sim.Requests() {
		got := answers[r.ID]
		switch {
		case len(got) == 0:
			if lost[r.Operation]--; lost[r.Operation] < 0 && !w.killed {
				w.T.Errorf("%s of %s (status %d) is not in the log", r.Operation, r.Project, r.Status)
			}
		case len(got) > 1:
			w.T.Errorf("%s of %s is in the log %d times", r.Operation, r.Project, len(got))
		case got[0].Op != r.Operation || got[0].Status != r.Status:
			w.T.Errorf("%s of %s ended with %d, the log says %+v", r.Operation, r.Project, r.Status, got[0])
		}
	}
}
