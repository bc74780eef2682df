package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"rotator/internal/audit"
	"rotator/internal/rotation"
)

// oneLine checks that stderr is exactly one line, rotator's own message.
func oneLine(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stderr")
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "rotator: ") {
		ts.Fatalf("stderr is not one line of rotator's: %q", text)
	}
}

// stored checks that a credential's path in Vault names a key that exists and
// works with the secret beside it: stored PROJECT CREDENTIAL [VARIABLE].
// Negated, that there is no such path.
func stored(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	s, err := w.vault.Client(w.t).KVv2("secret").Get(w.t.Context(), w.path(args[0], args[1]))
	if neg {
		if err == nil {
			ts.Fatalf("Vault holds something for %s/%s", args[0], args[1])
		}
		return
	}
	ts.Check(err)
	id, _ := s.Data["key_id"].(string)
	text, _ := s.Data["key_secret"].(string)
	if issued, _ := w.sim.Secret(id); text == "" || text != issued || !w.sim.Works(id, text) {
		ts.Fatalf("Vault's key %s of %s/%s is not as issued, or does not work", id, args[0], args[1])
	}
	if s.Data["project_id"] != args[0] || s.CustomMetadata["managed_by"] != "rotator" {
		ts.Fatalf("Vault's data of %s/%s lack their marks: project_id %v, metadata %v", args[0], args[1], s.Data["project_id"], s.CustomMetadata)
	}
	if len(args) > 2 {
		ts.Setenv(args[2], id)
	}
}

// count checks how many keys a project has: count PROJECT NUMBER.
func count(ts *testscript.TestScript, _ bool, args []string) {
	if keys := of(ts).sim.Keys(args[0]); strconv.Itoa(len(keys)) != args[1] {
		ts.Fatalf("project %s has %d keys, want %s: %+v", args[0], len(keys), args[1], keys)
	}
}

// snapshot remembers everything that only a run may change, for same.
func snapshot(ts *testscript.TestScript, _ bool, _ []string) { w := of(ts); w.before = w.state(ts) }

// same checks that nothing has changed since snapshot.
func same(ts *testscript.TestScript, _ bool, _ []string) {
	w := of(ts)
	if after := w.state(ts); after != w.before {
		ts.Fatalf("something was changed; before:\n%s\nafter:\n%s", w.before, after)
	}
}

// state is Sinch's keys, Vault's versions and rotator's tables. Process rows
// are left out: looking at things takes one, too.
func (w *world) state(ts *testscript.TestScript) string {
	var b strings.Builder
	for _, p := range w.projects {
		fmt.Fprintf(&b, "%s %+v\n", p, w.sim.Keys(p))
		for _, name := range w.children(ts, w.prefix+"/"+p) {
			meta, err := w.vault.Client(w.t).KVv2("secret").GetMetadata(w.t.Context(), w.prefix+"/"+p+"/"+name)
			ts.Check(err)
			fmt.Fprintf(&b, "%s/%s version %d updated %s %v\n", p, name, meta.CurrentVersion, meta.UpdatedTime, meta.CustomMetadata)
		}
	}
	for _, table := range []string{"setting", "run", "project", "credential", "rotation", "access_key"} {
		fmt.Fprintln(&b, table, w.rows(ts, "SELECT t::text FROM rotator."+table+" t ORDER BY 1"))
	}
	return b.String()
}

func (w *world) children(ts *testscript.TestScript, path string) []string {
	s, err := w.vault.Client(w.t).Logical().ListWithContext(w.t.Context(), "secret/metadata/"+path)
	ts.Check(err)
	var names []string
	if s != nil {
		list, _ := s.Data["keys"].([]any)
		for _, name := range list {
			names = append(names, fmt.Sprint(name))
		}
	}
	return names
}

// rows returns one text column.
func (w *world) rows(ts *testscript.TestScript, sql string) []string {
	rows, err := w.pool.Query(w.t.Context(), sql)
	ts.Check(err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ts.Check(err)
	return texts
}

// leakless checks that the database holds no secret anywhere.
func leakless(ts *testscript.TestScript, _ bool, _ []string) {
	w := of(ts)
	var all strings.Builder
	for _, table := range w.rows(ts, `SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
		WHERE table_schema IN ('rotator', 'audit') AND table_type = 'BASE TABLE'`) {
		fmt.Fprintln(&all, table, w.rows(ts, "SELECT t::text FROM "+table+" t"))
	}
	if !strings.Contains(all.String(), "access_keys.create") {
		ts.Fatalf("the audit log tells of no create: nothing was looked at")
	}
	if which := w.leaked(all.String()); which != "" {
		ts.Fatalf("the database holds %s", which)
	}
}

// logsOnly checks that stderr holds JSON log lines only.
func logsOnly(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Msg == "" {
			ts.Fatalf("stderr holds a line that is no log entry: %q", line)
		}
	}
}

// exactBytes checks that stdout is the bodies of these events, byte for byte:
// exact-bytes WHERE, a condition on audit.event.
func exactBytes(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	bodies := w.rows(ts, "SELECT body::text FROM audit.event WHERE "+args[0]+" ORDER BY seq")
	if want := strings.Join(bodies, "\n") + "\n"; len(bodies) == 0 || ts.ReadFile("stdout") != want {
		ts.Fatalf("stdout is not the %d events:\n%s", len(bodies), want)
	}
}

// eachEvent checks every event on stdout, of which there must be one or more:
// events FIELD=VALUE. With `none`,
// there must be none.
func eachEvent(ts *testscript.TestScript, _ bool, args []string) {
	lines := slices.Collect(strings.Lines(ts.ReadFile("stdout")))
	if args[0] == "none" {
		if len(lines) > 0 {
			ts.Fatalf("there are %d events, want none", len(lines))
		}
		return
	}
	name, want, _ := strings.Cut(args[0], "=")
	if len(lines) == 0 {
		ts.Fatalf("there are no events")
	}
	for _, line := range lines {
		var e map[string]any
		ts.Check(json.Unmarshal([]byte(line), &e))
		if got := show(e[name]); got != want {
			ts.Fatalf("%s is %s in %s", name, got, line)
		}
	}
}

// cut puts a field of the first event of the log that a filter finds into a
// variable: cut VARIABLE FIELD TYPE. The field `seq` is the place in the log.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	for r, err := range audit.List(w.t.Context(), w.pool, audit.Filter{Type: args[2], Limit: 1}) {
		ts.Check(err)
		var e map[string]any
		ts.Check(json.Unmarshal(r.Body, &e))
		e["seq"] = float64(r.Seq)
		ts.Setenv(args[0], show(e[args[1]]))
		return
	}
	ts.Fatalf("there is no event of type %s", args[2])
}

// jsonValue looks a value up on stdout: json PATH VALUE, where PATH is names
// and indexes joined by dots, `len` is how many there are, and VALUE is JSON
// without quotes.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for step := range strings.SplitSeq(args[0], ".") {
		v = descend(ts, v, step)
	}
	if got := show(v); (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

func descend(ts *testscript.TestScript, v any, step string) any {
	switch v := v.(type) {
	case []any:
		if step == "len" {
			return float64(len(v))
		}
		if i, err := strconv.Atoi(step); err == nil && i < len(v) {
			return v[i]
		}
		ts.Fatalf("there is no element %s among %d", step, len(v))
	case map[string]any:
		if child, ok := v[step]; ok {
			return child
		}
		ts.Fatalf("there is no field %s, but %v", step, slices.Sorted(maps.Keys(v)))
	}
	ts.Fatalf("%s: %v has no fields", step, v)
	return nil
}

func show(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// converges runs until nothing is left to do, however the world was left. Then
// every credential in scope has one current key, which works.
func converges(ts *testscript.TestScript, _ bool, _ []string) {
	w := of(ts)
	for began := time.Now(); time.Since(began) < processLimit; time.Sleep(time.Second) { // a lease or a back-off has to pass
		_ = ts.Exec("rotator", "run-now", "-o", "json") // what it did is looked at below
		w.inspect(ts, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		if err := ts.Exec("rotator", "plan", "--detailed-exitcode", "-o", "json"); err == nil {
			break
		}
	}
	exits(ts, false, []string{"0", "keys", "-o", "json"})
	var rows []keyRow
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &rows))
	current, want := map[string]int{}, map[string]int{}
	for _, k := range rows {
		name := k.ProjectID + "/" + k.Credential
		want[name] = 1
		if k.State == rotation.CurrentKey || k.State == rotation.AdoptableKey {
			current[name]++
		}
		if k.State == rotation.OrphanKey || k.State == rotation.UnknownKey {
			ts.Fatalf("key %s of %s is left over as %s", k.KeyID, name, k.State)
		}
		if k.State == rotation.CurrentKey {
			stored(ts, false, []string{k.ProjectID, k.Credential})
		}
	}
	if diff := cmp.Diff(want, current); diff != "" {
		ts.Fatalf("credentials with one current key (-want +got):\n%s", diff)
	}
}
