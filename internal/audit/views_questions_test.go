package audit_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// tellFleet writes the story of a fleet, so long that it ends now.
func tellFleet(t testing.TB, pool *pgxpool.Pool, projects, events, batch int) *fleet {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Config{Pool: pool, Timeout: 5 * time.Minute, BatchSize: batch, Common: common})
	if err != nil {
		t.Fatal(err)
	}
	rehearsal := newFleet(projects, time.Unix(0, 0), func(...audit.Event) {})
	rehearsal.tell(events)
	write, flush := into(t.Context(), log, batch)
	f := newFleet(projects, time.Now().Add(-rehearsal.now.Sub(time.Unix(0, 0))), write)
	f.tell(events)
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestQuestions asks an auditor's questions, as the auditor, about a fleet of
// which the answers are known.
func TestQuestions(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	f := tellFleet(t, pgtest.Pool(t, dsn), 12, 30_000, 1000)
	t.Logf("%d events, %d keys, %d rotations, %d open intents, %d gaps, %d compromised", f.events, len(f.keys), f.rotation, len(f.open), len(f.gaps), f.responses)
	q := questions{T: t, fleet: f, pool: pgtest.Pool(t, pgtest.Auditor(t, dsn))}
	t.Run("status codes", q.statusCodes)
	t.Run("calls", q.callsAndIntents)
	t.Run("schedule", q.schedule)
	t.Run("compromised", q.compromised)
	t.Run("keys", q.history)
	t.Run("inventory", q.inventory)
	t.Run("overdue", q.overdue)
}

type questions struct {
	*testing.T
	*fleet
	pool *pgxpool.Pool
}

// lines is a query's answer, a line a row, sorted.
func (q questions) lines(t *testing.T, sql string, args ...any) []string {
	t.Helper()
	rows, err := q.pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = fmt.Sprint(v)
		}
		return strings.Join(texts, "|"), err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	slices.Sort(found)
	return found
}

func (q questions) compare(t *testing.T, want []string, sql string, args ...any) {
	t.Helper()
	slices.Sort(want)
	if len(want) == 0 {
		t.Errorf("the fleet has nothing to ask about with %s", sql)
	}
	if diff := cmp.Diff(want, q.lines(t, sql, args...)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

// clock writes a time as the queries here do; "-" is none.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000")
}

const asClock = `coalesce(to_char(%[1]s at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '-')`

func column(name string) string { return fmt.Sprintf(asClock, name) }

func (q questions) statusCodes(t *testing.T) {
	var want []string
	for c, n := range q.calls {
		status := fmt.Sprint(c.status)
		if c.status == 0 {
			status = "-"
		}
		want = append(want, fmt.Sprintf("%s|%s|%s|%s|%d", c.day, c.op, status, c.outcome, n))
	}
	q.compare(t, want, "select day::text, operation, coalesce(http_status::text, '-'), outcome, calls from audit.status_codes")
}

func (q questions) callsAndIntents(t *testing.T) {
	total, open, resolved := 0, slices.Clone(q.open), 0
	for _, n := range q.calls {
		total += n
	}
	for _, p := range q.projects { // not yet asked after
		for _, intent := range p.open {
			open = append(open, intent.Call)
		}
	}
	resolved = q.resolved
	q.compare(t, open, "select call_id::text from audit.open_intents")
	q.compare(t, []string{fmt.Sprintf("%d|%d|%d", total+len(open)+resolved, len(open), resolved)},
		"select count(*), count(*) filter (where outcome is null), count(*) filter (where outcome = 'unknown' and request_id is null and duration_us is null) from audit.api_calls")
	q.compare(t, []string{"0|0"}, `select count(*) filter (where audit.mutates(operation) <> (intended_at is not null)),
		count(*) filter (where intended_at > occurred_at or intended_at < occurred_at - interval '1 minute' and outcome <> 'unknown') from audit.api_calls`)
}

func (q questions) schedule(t *testing.T) {
	var want []string
	for _, from := range q.gaps {
		want = append(want, fmt.Sprintf("%s|%d", from.UTC().Format("2006-01-02 15"), fleetGap/time.Hour))
	}
	q.compare(t, want, `select to_char(gap_from at time zone 'UTC', 'YYYY-MM-DD HH24'), round(extract(epoch from length) / 3600)::int
		from audit.schedule_gaps('2 hours') where gap_to < now()`)
}

func (q questions) compromised(t *testing.T) {
	var want []string
	for _, k := range q.keys {
		if k.trigger == "compromised" && k.published != (time.Time{}) {
			want = append(want, fmt.Sprintf("%s|%s|%s|true|alice@desk via run-now|a laptop was lost", k.project, k.credential, clock(k.published)))
		}
	}
	q.compare(t, want, `select project_id, credential, `+column("replaced_at")+`, (seconds_to_delete between 0 and 600 and reported_at < replaced_at)::text, actor, reason
		from audit.compromise_response where replaced_at is not null`)
}

// history compares the life of every key.
func (q questions) history(t *testing.T) {
	var want []string
	for _, k := range q.keys {
		if k.known.IsZero() {
			continue
		}
		gone := k.gone
		if k.vanished {
			gone = time.Time{}
		}
		want = append(want, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s", k.project, k.credential, k.id, k.name, clock(k.created), clock(k.published),
			clock(k.superseded), clock(gone), orElse(k.replacedBy, "-"), orElse(k.rotation, "-"), orElse(k.trigger, "-")))
	}
	q.compare(t, want, `select project_id, credential, key_id, display_name, `+column("created_at")+`, `+column("published_at")+`, `+
		column("superseded_at")+`, `+column("deleted_at")+`, coalesce(replaced_by, '-'), coalesce(rotation_id, '-'), coalesce(trigger, '-') from audit.key_history`)
	for _, k := range q.keys[:40] { // by one key, the planner goes other ways
		if got := q.lines(t, "select key_id from audit.key_history where key_id = $1", k.id); !slices.Equal(got, []string{k.id}) {
			t.Errorf("the history of %s has %v", k.id, got)
		}
	}
}

// inventory compares the keys at some times: between looks, and in the middle
// of one.
func (q questions) inventory(t *testing.T) {
	last := q.now
	times := []time.Time{last, last.Add(-3 * time.Hour), last.Add(-40 * day), last.Add(-101*day - 11*time.Minute)}
	for _, k := range q.keys {
		if k.rotation != "" && len(times) < 12 {
			times = append(times, k.published.Add(time.Millisecond), k.known.Add(time.Microsecond), k.gone.Add(-time.Microsecond), k.gone.Add(time.Second))
		}
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return at.Year() < 2000 })
	for _, at := range times {
		at = at.Truncate(time.Microsecond)
		var want []string
		for _, k := range q.keys {
			if !k.known.IsZero() && !k.known.After(at) && (k.gone.IsZero() || k.gone.After(at)) {
				want = append(want, fmt.Sprintf("%s|%s|%s|%s|%t", k.project, k.credential, k.id, clock(k.created), k.credential != "break-glass"))
			}
		}
		q.compare(t, want, `select project_id, credential, key_id, `+column("created_at")+`, in_scope::text from audit.keys_on($1)`, at)
	}
	states := map[string]int{}
	for _, k := range q.keys {
		if !k.known.IsZero() && k.gone.IsZero() {
			states[k.state]++
		}
	}
	var want []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		want = append(want, fmt.Sprintf("%s|%d", state, states[state]))
	}
	q.compare(t, want, "select state, count(*) from audit.keys_on(now()) group by state")
}

func (q questions) overdue(t *testing.T) {
	var want []string
	for _, p := range q.projects {
		for _, c := range p.creds {
			if time.Since(c.current.created) > fleetMaxAge {
				want = append(want, fmt.Sprintf("%s|%s|%s|720:00:00|Vault refuses to write sinch/%s/%s: 403", p.id, c.name, c.current.id, p.id, c.name))
			}
		}
	}
	q.compare(t, want, "select project_id, credential, key_id, max_age::text, reason from audit.overdue_keys")
}
