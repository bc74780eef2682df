package outage_test

import (
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
)

// intents names what each intent in the log would change, as sinchMutation
// and vaultMutation name requests.
const intents = `select case when operation like 'vault.%'
		then concat_ws('|', operation, body->>'vault_path', coalesce(body->>'vault_version', '0'))
		else concat_ws('|', operation, project_id, coalesce(key_id, ''), coalesce(body->>'display_name', '')) end as what,
		occurred_at, call_id from audit.event where phase = 'intent'`

// check fails the test unless everything is as it should be after an outage.
func (w *world) check(keys map[string]int) {
	w.t.Helper()
	w.checkKeys(keys)
	w.checkSent()
	w.checkOutcomes()
	w.checkAnswers()
	w.checkLog()
}

// checkKeys: Vault names keys that work, and every key that a rotation made
// is one of those or was one.
func (w *world) checkKeys(want map[string]int) {
	w.t.Helper()
	for _, c := range w.creds {
		key := w.checkNamed(c.project, c.name)
		for _, k := range w.sim.Keys(c.project) {
			if k.ID == key && time.Since(k.CreateTime) > 90*day {
				w.t.Errorf("%s/%s: Vault still names the old key", c.project, c.name)
			}
		}
		if orphans := w.orphans(c.project); len(orphans) > 0 {
			w.t.Errorf("%s has orphans: %+v", c.project, orphans)
		}
	}
	for project, n := range want {
		keys := w.sim.Keys(project)
		if len(keys) != n {
			w.t.Errorf("%s has %d keys, want %d: %+v", project, len(keys), n, keys)
		}
	}
}

// checkNamed fails the test unless Vault's path names a key that works.
func (w *world) checkNamed(project, name string) (key string) {
	w.t.Helper()
	v, err := w.vault.KVv2("secret").Get(w.t.Context(), w.path(project, name))
	if err != nil {
		w.t.Errorf("reading Vault's path of %s/%s: %v", project, name, err)
		return ""
	}
	key, _ = v.Data["key_id"].(string)
	secret, _ := v.Data["key_secret"].(string)
	if !w.sim.Works(key, secret) {
		w.t.Errorf("%s/%s: Vault names key %q, which does not work", project, name, key)
	}
	return key
}

// orphans are keys that a rotation made and that are not published.
func (w *world) orphans(project string) (found []sinchtest.Key) {
	published := map[string]bool{}
	for _, id := range w.strings(`select key_id from audit.event where type = 'rotation.published'`) {
		published[id] = true
	}
	for _, k := range w.sim.Keys(project) {
		if rotation.ParseName(k.DisplayName).RotationID != "" && !published[k.ID] && time.Since(k.CreateTime) < day {
			found = append(found, k)
		}
	}
	return found
}

// checkSent: nothing was changed without an intent, and every intent came
// first. No name of a create was ever sent twice.
func (w *world) checkSent() {
	w.t.Helper()
	type intent struct {
		What string
		At   time.Time
	}
	rows, err := w.db.Query(w.t.Context(), `select what, occurred_at as at from (`+intents+`) i order by occurred_at`)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[intent])
	if err != nil {
		w.t.Fatal(err)
	}
	open := map[string][]time.Time{}
	for _, i := range all {
		open[i.What] = append(open[i.What], i.At)
	}
	created := map[string]bool{}
	for _, s := range w.gate.mutations() {
		first := open[s.what]
		switch {
		case len(first) == 0:
			w.t.Errorf("%s was sent without an intent", s.what)
			continue
		case first[0].After(s.at), !s.vouched:
			w.t.Errorf("%s was sent before its intent was committed", s.what)
		}
		open[s.what] = first[1:]
		if strings.HasPrefix(s.what, "access_keys.create|") {
			if created[s.what] {
				w.t.Errorf("%s was sent twice", s.what)
			}
			created[s.what] = true
		}
	}
}

// checkOutcomes: every intent has come to one end.
func (w *world) checkOutcomes() {
	w.t.Helper()
	for _, what := range w.strings(`select what from (` + intents + `) i where not exists
		(select from audit.event o where o.call_id = i.call_id and o.phase in ('outcome', 'resolved'))`) {
		w.t.Errorf("intent left open: %s", what)
	}
	for _, what := range w.strings(`select what from (` + intents + `) i
		join audit.event o on o.call_id = i.call_id and o.phase <> 'intent' group by i.call_id, what, o.phase having count(*) > 1`) {
		w.t.Errorf("intent with more than one outcome: %s", what)
	}
}

// checkAnswers: every answer that Sinch gave stands in the log once, with its
// status. Those that did not arrive stand there without one.
func (w *world) checkAnswers() {
	w.t.Helper()
	type row struct {
		Request, Op string
		Status      int
	}
	rows, err := w.db.Query(w.t.Context(), `select coalesce(body->>'request_id', ''), operation, coalesce(http_status, 0)::int
		from audit.event where phase = 'outcome' and operation not like 'vault.%'`)
	if err != nil {
		w.t.Fatal(err)
	}
	logged, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		w.t.Fatal(err)
	}
	answers, lost := map[string][]row{}, map[string]int{}
	for _, r := range logged {
		if r.Status == 0 {
			lost[r.Op]++
		} else {
			answers[r.Request] = append(answers[r.Request], r)
		}
	}
	for _, r := range w.sim.Requests() {
		got := answers[r.ID]
		switch {
		case len(got) == 0:
			if lost[r.Operation]--; lost[r.Operation] < 0 && !w.killed {
				w.t.Errorf("%s of %s (status %d) is not in the log", r.Operation, r.Project, r.Status)
			}
		case len(got) > 1:
			w.t.Errorf("%s of %s is in the log %d times", r.Operation, r.Project, len(got))
		case got[0].Op != r.Operation || got[0].Status != r.Status:
			w.t.Errorf("%s of %s ended with %d, the log says %+v", r.Operation, r.Project, r.Status, got[0])
		}
	}
}

// checkLog computes the tree anew from all bodies.
func (w *world) checkLog() {
	w.t.Helper()
	bodies := w.strings(`select body::text from audit.event order by seq`)
	var kept []tlog.Hash // the log's interior nodes, as tlog stores them
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(at))
		for i, n := range at {
			found[i] = kept[n]
		}
		return found, nil
	})
	for i, body := range bodies {
		hashes, err := tlog.StoredHashes(int64(i), []byte(body), reader)
		if err != nil {
			w.t.Fatal(err)
		}
		kept = append(kept, hashes...)
	}
	var size int64
	var root []byte
	if err := w.db.QueryRow(w.t.Context(), `select size, root from audit.head`).Scan(&size, &root); err != nil {
		w.t.Fatal(err)
	}
	computed, err := tlog.TreeHash(int64(len(bodies)), reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if int64(len(bodies)) != size || computed != tlog.Hash(root) {
		w.t.Errorf("the log has %d events and root %x, its head says %d and %x", len(bodies), computed, size, root)
	}
}

// strings is a query's column.
func (w *world) strings(query string, args ...any) []string {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), query, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// events counts the log's events of a type.
func (w *world) events(kind string) int {
	w.t.Helper()
	return w.one(`select count(*) from audit.event where type = $1`, kind)
}
