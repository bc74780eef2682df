package audit_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// scene is a log on a real server with checkpoints of 20, 40 and 60 events
// and six events after them, and a superuser who wants it to say something
// else.
type scene struct {
	*witness

	pool *pgxpool.Pool // the superuser's
	now  time.Time     // of the latest event
	call string        // that is announced
}

const sceneEvents = 66

func newScene(t testing.TB) *scene {
	t.Helper()
	return sceneOn(t, pgtest.New(t))
}

// sceneOn makes the scene in a database.
func sceneOn(t testing.TB, pool *pgxpool.Pool) *scene {
	t.Helper()
	s := &scene{pool: pgtest.Admin(t, pool), now: time.Now().UTC().Truncate(time.Second).Add(-sceneEvents * time.Minute / 2)}
	s.witness = witnessOf(t, s.pool)
	s.do(t, rowOf)
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return s.now } })
	for i := range sceneEvents {
		s.now = s.now.Add(30 * time.Second)
		if err := log.Append(t.Context(), s.event(i)); err != nil {
			t.Fatal(err)
		}
		if size := i + 1; size == 20 || size == 40 || size == 60 {
			c := headOf(t, s.pool)
			c.at = s.now.Add(10 * time.Second)
			s.sign(t, c)
		}
	}
	return s
}

// event is the scene's event of a number: changes that are announced and end,
// and what they bring about.
func (s *scene) event(i int) audit.Event {
	e := audit.Event{Project: "p1", Credential: "billing-api", Key: fmt.Sprint("k", i/6), Rotation: fmt.Sprintf("%013d", i/6)}
	switch i % 6 {
	case 0:
		s.call = idAt(s.now)
		e.Type, e.Op, e.Method, e.Call, e.Phase = audit.APICall, "access_keys.create", "POST", s.call, audit.Intent
	case 1:
		e.Type, e.Op, e.Method, e.Call, e.Phase = audit.APICall, "access_keys.create", "POST", s.call, audit.Result
		e.Status, e.Outcome = 201, audit.OK
	case 2:
		e.Type = audit.RotationCreated
	case 3:
		e.Type, e.Op, e.Phase, e.Status, e.Outcome, e.Call = audit.APICall, "access_keys.get", audit.Result, 200, audit.OK, uuid.NewString()
	case 4:
		e.Type = audit.RotationPublished
	case 5:
		e.Type, e.Reason = audit.KeyRetired, "overlap is over"
	}
	return e
}

// do runs what the superuser wants, which must work.
func (s *scene) do(t testing.TB, sql string, args ...any) {
	t.Helper()
	exec(t, s.pool, sql, args...)
}

// tables are the log and its partitions.
func (s *scene) tables(t testing.TB) []string {
	t.Helper()
	return get[[]string](t, s.pool, "select array_agg(relid::text) from pg_partition_tree('audit.event')")
}

// disarm switches the triggers off that refuse changes.
func (s *scene) disarm(t testing.TB) {
	t.Helper()
	for _, table := range s.tables(t) {
		s.do(t, "alter table "+table+" disable trigger all")
	}
}

// rearm covers the tracks.
func (s *scene) rearm(t testing.TB) {
	t.Helper()
	for _, table := range s.tables(t) {
		for _, trigger := range []string{"append_only", "append_only_row"} {
			s.do(t, "alter table "+table+" enable always trigger "+trigger)
		}
	}
}

// unbound runs a change with neither triggers nor the hashes' constraint,
// and puts both back as well as can be.
func (s *scene) unbound(t testing.TB, sql string, args ...any) {
	t.Helper()
	s.disarm(t)
	s.do(t, "alter table audit.event drop constraint event_leaf")
	s.do(t, sql, args...)
	s.do(t, `alter table audit.event add constraint event_leaf check (leaf_hash = sha256('\x00'::bytea || convert_to(body::text, 'UTF8'))) not valid`)
	s.rearm(t)
}

// disarmed runs a change without the triggers.
func (s *scene) disarmed(t testing.TB, sql string, args ...any) {
	t.Helper()
	s.disarm(t)
	s.do(t, sql, args...)
	s.rearm(t)
}

// refill brings the hash and all columns of the rows from one on in line with
// their bodies, as the log's own function would have filled them.
const refill = `update audit.event set leaf_hash = sha256('\x00'::bytea || convert_to(o.body::text, 'UTF8')),
	occurred_at = (timestamp '1970-01-01' + b.t_us * interval '1 microsecond') at time zone 'UTC',
	day = (timestamp '1970-01-01' + b.t_us * interval '1 microsecond')::date,
	http_status = b.status, event_id = b.id, call_id = b.call, run_id = b.run, type = b.type, phase = b.phase, outcome = b.outcome,
	operation = b.op, rotation_id = b.rotation, credential = b.credential, project_id = b.project, key_id = b.key
	from audit.event o, json_to_record(o.body) as b (t_us bigint, status smallint, id uuid, call uuid, run uuid, type text, phase text,
		outcome text, op text, rotation text, credential text, project text, key text)
	where o.seq = event.seq`

// edit replaces a piece of the bodies of events, and makes their hashes and
// columns fit.
func (s *scene) edit(t testing.TB, first, last int, old, new string) {
	t.Helper()
	s.disarm(t)
	s.do(t, "alter table audit.event drop constraint event_leaf")
	s.do(t, "update audit.event set body = replace(body::text, $3, $4)::json where seq between $1 and $2", first, last, old, new)
	s.do(t, refill)
	s.do(t, `alter table audit.event add constraint event_leaf check (leaf_hash = sha256('\x00'::bytea || convert_to(body::text, 'UTF8')))`)
	s.rearm(t)
}

// rehead makes the head fit the rows.
func (s *scene) rehead(t testing.TB) {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "select leaf_hash from audit.event order by seq")
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var tree audit.Tree
	for _, l := range leaves {
		tree = tree.Append([32]byte(l))
	}
	root := tree.Root()
	s.do(t, "update audit.head set size = $1, root = $2, frontier = $3", len(leaves), root[:], tree.Frontier())
}

// renumber lets the rows from a seq on move by so many.
func (s *scene) renumber(t testing.TB, from, by int) {
	t.Helper()
	const aside = 500_000 // keys are compared row by row
	s.disarmed(t, "update audit.event set seq = seq + $2 where seq >= $1", from, aside)
	s.disarmed(t, "update audit.event set seq = seq - $1 where seq >= $1", aside-by)
}

// appendRow appends a body with the log's own function, as whoever holds the
// writer's login can.
func (s *scene) appendRow(t testing.TB, body string) {
	t.Helper()
	c := headOf(t, s.pool)
	tree, err := audit.RestoreTree(c.size, c.root[:], c.frontier)
	if err != nil {
		t.Fatal(err)
	}
	hash := leaf([]byte(body))
	tree = tree.Append(hash)
	root := tree.Root()
	s.do(t, "select audit.append($1, $2, $3, $4, $5)", c.size, []string{body}, [][]byte{hash[:]}, root[:], tree.Frontier())
}

// backup clones the scene's database as it is now and returns the copy's URL.
func (s *scene) backup(t testing.TB) string {
	t.Helper()
	name, link := get[string](t, s.pool, "select current_database()"), s.pool.Config().ConnString()
	on := func(database string) string { return strings.Replace(link, "/"+name, "/"+database, 1) }
	server := func(ctx context.Context, statements ...string) {
		conn, err := pgx.Connect(ctx, on("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx) //nolint:errcheck // a test's
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	}
	server(t.Context(), "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '"+name+"'",
		"create database "+name+"_backup template "+name)
	t.Cleanup(func() { server(context.WithoutCancel(t.Context()), "drop database "+name+"_backup with (force)") })
	s.pool.Reset()
	return on(name + "_backup")
}

// found returns the finding of a kind, which must be there.
func found(t testing.TB, v *audit.Verdict, kind string) audit.Finding {
	t.Helper()
	i := slices.IndexFunc(v.Findings, func(f audit.Finding) bool { return f.Kind == kind })
	if i < 0 {
		t.Fatalf("no finding %q:\n%s", kind, shown(v))
	}
	return v.Findings[i]
}
