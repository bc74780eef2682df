package rig

import (
	"encoding/json"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// CheckIntents checks that every intent has come to one end.
func (w *World) CheckIntents() {
	w.T.Helper()
	for _, what := range w.Strings(`select what from (` + intents + `) i where not exists
		(select from audit.event o where o.call_id = i.call_id and o.phase in ('outcome', 'resolved'))`) {
		w.T.Errorf("intent left open: %s", what)
	}
	for _, what := range w.Strings(`select what from (` + intents + `) i
		join audit.event o on o.call_id = i.call_id and o.phase <> 'intent' group by i.call_id, what, o.phase having count(*) > 1`) {
		w.T.Errorf("intent with more than one outcome: %s", what)
	}
}

// CheckRotations checks that every planned rotation has come to an end, in the
// log (where the latest word counts: a publication that was given up may turn
// out to have arrived) and in the tables alike.
func (w *World) CheckRotations() {
	w.T.Helper()
	const ends = `(select e.type from audit.event e
		where e.rotation_id = r.id and e.type in ('rotation.published', 'rotation.failed') order by e.seq desc limit 1)`
	for _, what := range w.Strings(`select format('rotation %s is %s in the tables, and %s in the log', r.id, r.state, coalesce(` + ends + `, 'open'))
		from rotator.rotation r where ` + ends + ` is distinct from 'rotation.' || r.state`) {
		w.T.Error(what)
	}
	for _, id := range w.Strings(`select e.rotation_id from audit.event e where e.type = 'rotation.planned'
		and not exists (select from rotator.rotation r where r.id = e.rotation_id)`) {
		w.T.Errorf("rotation %s was planned, and the tables do not know it", id)
	}
}

// CheckLog computes the tree anew from all bodies.
func (w *World) CheckLog() {
	w.T.Helper()
	type event struct {
		Seq  int64
		Body string
		Leaf []byte
	}
	var kept []tlog.Hash // the log's interior nodes, as tlog stores them
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(at))
		for i, n := range at {
			found[i] = kept[n]
		}
		return found, nil
	})
	all := rows(w, pgx.RowToStructByPos[event], `select seq, body::text, leaf_hash from audit.event order by seq`)
	for i, e := range all {
		hashes, err := tlog.StoredHashes(int64(i), []byte(e.Body), reader)
		if err != nil {
			w.T.Fatal(err)
		}
		if e.Seq != int64(i) || tlog.RecordHash([]byte(e.Body)) != tlog.Hash(e.Leaf) {
			w.T.Fatalf("event %d of the log has seq %d, or not the hash of its body", i, e.Seq)
		}
		kept = append(kept, hashes...)
	}
	var size int64
	var root []byte
	if err := w.DB.QueryRow(w.T.Context(), `select size, root from audit.head`).Scan(&size, &root); err != nil {
		w.T.Fatal(err)
	}
	computed, err := tlog.TreeHash(int64(len(all)), reader)
	if err != nil {
		w.T.Fatal(err)
	}
	if int64(len(all)) != size || computed != tlog.Hash(root) {
		w.T.Errorf("the log has %d events and root %x, its head says %d and %x", len(all), computed, size, root)
	}
}

// CheckInventory asks rotator itself: one current key a credential, no orphan.
func (w *World) CheckInventory() {
	w.T.Helper()
	p := w.Run(0, "keys", "-o", "json")
	var keys []struct {
		Project    string `json:"project_id"`
		Credential string
		KeyID      string `json:"key_id"`
		State      string
	}
	if err := json.Unmarshal([]byte(p.Out.String()), &keys); err != nil {
		w.T.Fatal(err)
	}
	current := map[Credential]int{}
	for _, k := range keys {
		switch k.State {
		case "current":
			current[Credential{k.Project, k.Credential}]++
		case "superseded":
		default:
			if k.Project != Parent {
				w.T.Errorf("%s/%s: rotator says that key %s is %q", k.Project, k.Credential, k.KeyID, k.State)
			}
		}
	}
	for _, c := range w.Credentials {
		if current[c] != 1 {
			w.T.Errorf("%s/%s: rotator knows %d current keys", c.Project, c.Name, current[c])
		}
	}
}
