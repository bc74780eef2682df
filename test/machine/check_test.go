package machine_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"pgregory.net/rapid"

	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
)

// read returns what the newest version of a path names; version 0 if there
// is no readable one.
func (w *world) read(rt *rapid.T, at string) (version int, key, text string) {
	version, key, text, err := w.look(at)
	must(rt, err)
	return version, key, text
}

func (w *world) look(at string) (version int, key, text string, err error) {
	s, err := w.vault.Get(w.ctx, at)
	if errors.Is(err, api.ErrSecretNotFound) || err == nil && s.Data == nil {
		return 0, "", "", nil
	}
	if err != nil {
		return 0, "", "", err
	}
	key, _ = s.Data["key_id"].(string)
	text, _ = s.Data["key_secret"].(string)
	return s.VersionMetadata.Version, key, text, nil
}

// deleting is asked by the wire, right before rotator deletes a key.
func (w *world) deleting(project, key string) {
	var wrong string
	for name := range w.creds[project] {
		_, named, _, err := w.look(path(project, name))
		if err != nil || named == key {
			wrong = fmt.Sprintf("%s: key %s is being deleted, although Vault names it for %q (%v)", project, key, name, err)
		}
	}
	if name, ok := w.excluded[key]; ok {
		wrong = fmt.Sprintf("%s: key %s (%s) is being deleted, which is out of scope", project, key, name)
	}
	if len(w.sim.Keys(project)) <= 1 {
		for _, k := range w.sim.Keys(project) {
			if k.ID == key {
				wrong = fmt.Sprintf("%s: key %s is being deleted, the project's last", project, key)
			}
		}
	}
	if wrong != "" {
		w.wrong.Store(&wrong)
	}
}

// check looks at what must hold after every step.
func (w *world) check(rt *rapid.T) {
	w.tally.steps.Add(1)
	if wrong := w.wrong.Load(); wrong != nil {
		rt.Fatal(*wrong)
	}
	for _, project := range w.projects() {
		w.checkProject(rt, project)
	}
	w.checkRequests(rt)
	w.checkSecrets(rt)
}

func (w *world) checkProject(rt *rapid.T, project string) {
	keys := map[string]sinchtest.Key{}
	for _, k := range w.sim.Keys(project) {
		keys[k.ID] = k
	}
	if len(keys) > rotation.KeyCap {
		rt.Errorf("%s has %d keys", project, len(keys))
	}
	if len(keys) > 0 {
		w.filled[project] = true
	} else if w.filled[project] {
		rt.Errorf("%s has lost its last key, and no person did it", project)
	}
	for name := range w.creds[project] {
		_, key, text := w.read(rt, path(project, name))
		if key != "" && !w.removed[key] && !w.sim.Works(key, text) {
			rt.Errorf("%s/%s: Vault names key %s, which does not work", project, name, key)
		}
	}
	for id, name := range w.excluded {
		if k, ok := keys[id]; ok && k.DisplayName != name {
			rt.Errorf("%s: key %s, out of scope, is now called %q instead of %q", project, id, k.DisplayName, name)
		}
		if text, _ := w.sim.Secret(id); !w.sim.Works(id, text) {
			rt.Errorf("key %s (%s), out of scope, is gone", id, name)
		}
	}
}

// change tells mutating requests apart, as both sides know them.
type change struct{ op, project, what string }

// checkRequests holds what Sinch has seen against the log: no name was sent
// twice, and every change has its intent, stamped before it arrived.
func (w *world) checkRequests(rt *rapid.T) {
	intents := map[change][]time.Time{}
	rows, err := w.db.Query(w.ctx, `SELECT operation, coalesce(project_id, ''), coalesce(key_id, ''), coalesce(body->>'display_name', ''), (body->>'t_us')::bigint
		FROM audit.event WHERE phase = 'intent' AND operation LIKE 'access\_keys.%' ORDER BY seq`)
	must(rt, err)
	defer rows.Close()
	for rows.Next() {
		var op, project, key, name string
		var us int64
		must(rt, rows.Scan(&op, &project, &key, &name, &us))
		c := change{op, project, key}
		if op == "access_keys.create" {
			c.what = name
		}
		intents[c] = append(intents[c], time.UnixMicro(us))
	}
	must(rt, rows.Err())
	for _, r := range w.sim.Requests() {
		c := change{r.Operation, r.Project, r.Key}
		switch r.Operation {
		case "access_keys.create":
			c.what = r.DisplayName
		case "access_keys.delete":
		case "access_keys.update":
			if strings.HasPrefix(r.DisplayName, personal) && !strings.Contains(r.DisplayName, " (superseded") {
				continue
			}
		default:
			continue
		}
		if len(intents[c]) == 0 || intents[c][0].After(r.At) {
			rt.Errorf("%+v was sent without an intent of its own before it", c)
			continue
		}
		if intents[c] = intents[c][1:]; r.Operation == "access_keys.create" && len(intents[c]) > 0 {
			rt.Errorf("%+v: the name was meant to be sent twice", c)
		}
	}
}

// checkSecrets looks for secrets in what the log has got since the last look.
func (w *world) checkSecrets(rt *rapid.T) {
	secrets := map[string]string{} // secret → key
	for _, r := range w.sim.Requests() {
		w.collect(secrets, r.Key)
	}
	for _, project := range w.projects() {
		for _, k := range w.sim.Keys(project) {
			w.collect(secrets, k.ID)
		}
	}
	rows, err := w.db.Query(w.ctx, `SELECT seq, body::text FROM audit.event WHERE seq >= $1 ORDER BY seq`, w.seen)
	must(rt, err)
	defer rows.Close()
	for rows.Next() {
		var body string
		must(rt, rows.Scan(&w.seen, &body))
		w.seen++
		for text, key := range secrets {
			if strings.Contains(body, text) {
				rt.Errorf("event %d holds the secret of key %s", w.seen-1, key)
			}
		}
	}
	must(rt, rows.Err())
}

func (w *world) collect(secrets map[string]string, key string) {
	if text, ok := w.sim.Secret(key); ok {
		secrets[text] = key
	}
}
