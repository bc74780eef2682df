package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
	"rotator/migrations"
)

// newRoles names roles that no other test uses; none exists yet but the
// installer, who logs in and owns the database that the URL is for.
func newRoles(t *testing.T, attributes string) (roles postgres.MigrateOptions, dsn, installer string) {
	t.Helper()
	installer = pgtest.RoleName(t)
	roles = postgres.MigrateOptions{Writer: pgtest.RoleName(t), Auditor: pgtest.RoleName(t), Owner: pgtest.RoleName(t)}
	dsn = pgtest.Empty(t)
	pgtest.MakeRole(t, installer, "LOGIN "+attributes)
	pgtest.Give(t, dsn, installer)
	return roles, pgtest.Login(t, dsn, installer), installer
}

func migrate(t *testing.T, dsn string, opts postgres.MigrateOptions) {
	t.Helper()
	if _, err := postgres.Migrate(t.Context(), secret.New(dsn), migrations.FS, opts); err != nil {
		t.Fatalf("migrating: %v", err)
	}
}

// installations are the ways to get a database whose roles are separate. Each
// returns the installer's URL.
var installations = map[string]func(*testing.T) (postgres.MigrateOptions, string){
	"an administrator made the roles": func(t *testing.T) (postgres.MigrateOptions, string) {
		t.Helper()
		roles, dsn, installer := newRoles(t, "NOCREATEROLE")
		pgtest.MakeRole(t, roles.Owner, "NOLOGIN")
		pgtest.MakeRole(t, roles.Writer, "LOGIN")
		pgtest.MakeRole(t, roles.Auditor, "LOGIN")
		exec(t, pgtest.Pool(t, pgtest.Superuser(t, dsn)), "grant "+roles.Owner+" to "+installer)
		migrate(t, dsn, roles)
		return roles, dsn
	},
	"the installer may create roles": func(t *testing.T) (postgres.MigrateOptions, string) {
		t.Helper()
		roles, dsn, _ := newRoles(t, "CREATEROLE")
		migrate(t, dsn, roles)
		return roles, dsn
	},
	"the installer is the owner": func(t *testing.T) (postgres.MigrateOptions, string) {
		t.Helper()
		roles, dsn, _ := newRoles(t, "NOCREATEROLE")
		pgtest.MakeRole(t, roles.Writer, "LOGIN")
		pgtest.MakeRole(t, roles.Auditor, "LOGIN")
		migrate(t, dsn, postgres.MigrateOptions{Writer: roles.Writer, Auditor: roles.Auditor})
		return roles, dsn
	},
	"a superuser migrates": func(t *testing.T) (postgres.MigrateOptions, string) {
		t.Helper()
		roles, dsn, _ := newRoles(t, "NOCREATEROLE")
		migrate(t, pgtest.Superuser(t, dsn), roles)
		return roles, dsn
	},
	"named one by one, after the fact": func(t *testing.T) (postgres.MigrateOptions, string) {
		t.Helper()
		roles, dsn, _ := newRoles(t, "CREATEROLE")
		migrate(t, dsn, postgres.MigrateOptions{})
		for _, opts := range []postgres.MigrateOptions{{Auditor: roles.Auditor}, {Writer: roles.Writer}, {Owner: roles.Owner}} {
			migrate(t, dsn, opts)
		}
		return roles, dsn
	},
}

// TestRoles tries, in every kind of installation, what each role may and what
// it may not do. The superuser passes by all of this; signed checkpoints are
// what tells on it.
func TestRoles(t *testing.T) {
	t.Parallel()
	for name, install := range installations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roles, dsn := install(t)
			pgtest.MakeRole(t, roles.Writer, "LOGIN") // where it was made without
			pgtest.MakeRole(t, roles.Auditor, "LOGIN")
			admin := pgtest.Pool(t, pgtest.Superuser(t, dsn))
			smallPartitions(t, admin, 4)
			write, read := pgtest.Pool(t, pgtest.Login(t, dsn, roles.Writer)), pgtest.Pool(t, pgtest.Login(t, dsn, roles.Auditor))
			for range 9 { // three partitions, made by the writer through audit.append
				appendAs(t, write, audit.Event{Type: audit.Pause})
			}
			for role, pool := range map[string]*pgxpool.Pool{"writer": write, "auditor": read} {
				t.Run(role, func(t *testing.T) {
					answers(t, pool)
					denied(t, pool, forbidden...)
					holdsNoMore(t, pool, role)
				})
			}
			denied(t, read, "select audit.lock_head()", "select audit.append(9, array['{}'], array[''::bytea], '', '')")
			for _, table := range get[[]string](t, admin, "select array_agg('rotator.' || tablename::text) from pg_tables where schemaname = 'rotator'") {
				denied(t, read, "select from "+table)
				exec(t, write, "select from "+table)
			}
			for _, pool := range []*pgxpool.Pool{admin, write, read} {
				checkLog(t, pool, 9)
			}
		})
	}
}

// appendAs appends one event with a log of its own.
func appendAs(t *testing.T, pool *pgxpool.Pool, e audit.Event) {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Append(t.Context(), e), log.Close(t.Context())); err != nil {
		t.Errorf("appending: %v", err)
	}
}

// answers asks every view and every function of AUDIT.md section 5, in a
// transaction that may not write.
func answers(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // nothing was written
	var views []string
	if err := tx.QueryRow(t.Context(), "select array_agg(viewname::text) from pg_views where schemaname = 'audit'").Scan(&views); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(views, "compromise_response") {
		t.Errorf("views: %v", views)
	}
	for _, from := range append(views, "keys_on(now())", "schedule_gaps('1 hour')", "event", "head", "setting") {
		if _, err := tx.Exec(t.Context(), "select * from audit."+from); err != nil {
			t.Fatalf("audit.%s: %v", from, err)
		}
	}
}

// forbidden are statements that neither writer nor auditor may run.
var forbidden = []string{
	// the log itself, and a partition made by the writer
	"insert into audit.event (seq, body, leaf_hash) values (9, '{}', '')",
	"insert into audit.event_000000000000004 (seq, body, leaf_hash) values (7, '{}', '')",
	"copy audit.event (seq, body, leaf_hash) from stdin", "copy audit.event_000000000000008 from stdin",
	"update audit.event set seq = 1", "update audit.event_000000000000004 set body = '{}'",
	"delete from audit.event", "delete from audit.event_000000000000004 where seq = 5",
	"truncate audit.event", "truncate audit.event_000000000000004", "truncate only audit.event",
	"merge into audit.head using audit.event e on e.seq = 0 when matched then delete",
	"select from audit.event for update", "do $$ begin lock table audit.event in row exclusive mode; end $$", "do $$ begin lock table audit.head in share mode; end $$",
	// where it ends, and how it is kept
	"update audit.head set size = 0", "delete from audit.head", "insert into audit.head select * from audit.head", "truncate audit.head",
	"copy audit.head from stdin", "select from audit.head for update",
	"update audit.setting set partition_size = 1", "update audit.setting set origin = 'mine'", "delete from audit.setting",
	"insert into audit.setting default values", "truncate audit.setting",
	// its shape
	"drop table audit.event", "drop table audit.event_000000000000004", "drop table audit.head cascade", "drop schema audit cascade",
	"drop view audit.events", "drop function audit.refuse_change() cascade", "drop index audit.event_key",
	"drop trigger append_only on audit.event",
	"alter table audit.event disable trigger all", "alter table audit.event disable trigger append_only",
	"alter table audit.event_000000000000004 disable trigger user", "alter table audit.event drop constraint event_leaf",
	"alter table audit.event detach partition audit.event_000000000000004", "alter table audit.event owner to current_user",
	"alter table audit.event rename to other", "alter table audit.event set schema public", "alter schema audit rename to other",
	"alter view audit.events rename to other", "alter view audit.events owner to current_user",
	"alter function audit.append(bigint, text[], bytea[], bytea, bytea) security invoker",
	"alter function audit.refuse_change() reset search_path", "alter trigger append_only on audit.event rename to other",
	"create trigger mine before insert on audit.event for each row execute function suppress_redundant_updates_trigger()",
	"create index on audit.event (seq)", "create rule mine as on insert to audit.event do instead nothing",
	"create policy mine on audit.event", "comment on table audit.event is 'mine'",
	"create table audit.mine ()", "create view audit.mine as select 1", "create function audit.mine() returns int language sql as 'select 1'",
	"create table public.mine ()", "create table rotator.mine ()", "create schema mine",
	"create table mine partition of audit.event for values from (900) to (901)",
	// its functions
	"create or replace function audit.refuse_change() returns trigger language plpgsql as 'begin return null; end'",
	"create or replace view audit.open_intents as select * from audit.open_intents where false",
	"create or replace function audit.append(bigint, text[], bytea[], bytea, bytea) returns bigint language sql as 'select 1::bigint'",
	"select audit.add_partition(100)", "select audit.cover(0, 100)", "select audit.refuse_change()",
	// who one is
	"set session_replication_role = replica", "set session authorization rotator", "set role pg_read_all_data",
	"alter role current_user superuser", "alter role current_user createrole", "create role mine", "alter system set fsync = off",
	"alter database postgres set session_replication_role = replica", "alter role current_user set session_replication_role = replica",
	// the server's files
	"copy audit.event to '/tmp/mine'", "copy audit.event to program 'cat'", "select pg_read_file('PG_VERSION')", "select lo_import('PG_VERSION')",
	"load 'plpgsql.so'", "create extension adminpack", "create language mine handler plpgsql_call_handler",
}

// denied runs statements that must each fail for want of a right.
func denied(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := pool.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != insufficientPrivilege {
			t.Errorf("%s: %v, want SQLSTATE %s", sql, err, insufficientPrivilege)
		}
	}
}

// holdsNoMore compares all that a role may do in our schemas, partitions and
// functions of all kinds included, with what it should.
func holdsNoMore(t *testing.T, pool *pgxpool.Pool, role string) {
	t.Helper()
	const rights = `
		with o as (
			select n.nspname || '.' || case when c.relispartition then 'partition' else c.relname::text end as name,
				array(select p from unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
					where has_table_privilege(c.oid, p) or p not in ('DELETE', 'TRUNCATE', 'TRIGGER') and has_any_column_privilege(c.oid, p)) as may
			from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'S')
			union all
			select n.nspname || '.' || p.proname || '()', '{EXECUTE}' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
			where has_function_privilege(p.oid, 'EXECUTE')
			union all
			select nspname || '.', array(select p from unnest('{USAGE,CREATE}'::text[]) p where has_schema_privilege(oid, p)) from pg_namespace
		)
		select array_agg(distinct name || ' ' || array_to_string(may, '+')) from o
		where (name like 'audit.%' or name like 'rotator.%') and may <> '{}'`
	want := map[string]bool{"audit. USAGE": true}
	for _, name := range []string{"mutates()", "tells_of_key()", "lists_all()", "credential_of()", "strangers()", "strangers_among()", "inventory()", "keys_and_limits()", "keys_on()", "schedule_gaps()"} {
		want["audit."+name+" EXECUTE"] = true
	}
	if role == "writer" {
		want["audit.append() EXECUTE"], want["audit.lock_head() EXECUTE"], want["rotator. USAGE"] = true, true, true
	}
	var surplus []string
	for _, right := range get[[]string](t, pool, rights) {
		name, may, _ := strings.Cut(right, " ")
		table := !strings.HasSuffix(name, ")") && !strings.HasSuffix(name, ".")
		read := strings.HasPrefix(name, "audit.") && table && may == "SELECT"
		work := role == "writer" && strings.HasPrefix(name, "rotator.") && table && may == "SELECT+INSERT+UPDATE+DELETE"
		if !want[right] && !read && !work {
			surplus = append(surplus, right)
		}
		delete(want, right)
	}
	if len(surplus) > 0 || len(want) > 0 {
		t.Errorf("rights too many: %v; missing: %v", surplus, cmp.Diff(map[string]bool{}, want))
	}
}

// TestMadeRoles: what Migrate makes cannot log in, and the owner owns all.
func TestMadeRoles(t *testing.T) {
	t.Parallel()
	roles, dsn := installations["the installer may create roles"](t)
	admin := pgtest.Pool(t, pgtest.Superuser(t, dsn))
	for _, role := range []string{roles.Owner, roles.Writer, roles.Auditor} { // the others log in when somebody says so
		if get[bool](t, admin, "select rolcanlogin or rolsuper or rolcreaterole or rolbypassrls from pg_roles where rolname = $1", role) {
			t.Errorf("%s may log in, or is mighty", role)
		}
	}
	const strangers = `select count(*) from (
		select relowner as owner from pg_class where relnamespace in ('audit'::regnamespace, 'rotator'::regnamespace)
		union all select proowner from pg_proc where pronamespace in ('audit'::regnamespace, 'rotator'::regnamespace)
		union all select nspowner from pg_namespace where nspname in ('audit', 'rotator')) o where owner <> $1::regrole`
	if n := get[int](t, admin, strangers, roles.Owner); n != 0 {
		t.Errorf("%d objects do not belong to the owner", n)
	}
}
