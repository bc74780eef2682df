package postgres_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
	"rotator/migrations"
)

// What each role may do in the end is tried in internal/audit. Here is how it
// gets there.

// newRoles names three roles that do not exist, and returns the URL of an
// empty database and of its owner, a login with the attributes.
func newRoles(t *testing.T, attributes string) (roles postgres.MigrateOptions, dsn, login string) {
	t.Helper()
	login = pgtest.RoleName(t)
	roles = postgres.MigrateOptions{Writer: pgtest.RoleName(t), Auditor: pgtest.RoleName(t), Owner: pgtest.RoleName(t)}
	dsn = pgtest.Empty(t)
	pgtest.MakeRole(t, login, "LOGIN "+attributes)
	pgtest.Give(t, dsn, login)
	return roles, pgtest.Login(t, dsn, login), login
}

// rights migrates and returns what was done about roles.
func rights(t *testing.T, dsn string, fsys fs.FS, roles postgres.MigrateOptions) []string {
	t.Helper()
	done, err := postgres.Migrate(t.Context(), secret.New(dsn), fsys, roles)
	if err != nil {
		t.Fatalf("migrating with %+v: %v", roles, err)
	}
	return done.Rights
}

// asAdmin runs statements as the superuser.
func asAdmin(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	pool := pgtest.Pool(t, pgtest.Superuser(t, dsn))
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// next is the shipped migrations and one that is still to come.
func next(t *testing.T) fs.FS {
	t.Helper()
	all := fstest.MapFS{"9000_next.sql": {Data: []byte(`-- +goose Up
CREATE VIEW audit.later AS SELECT seq FROM audit.event;
CREATE FUNCTION audit.look() RETURNS bigint LANGUAGE sql STABLE RETURN (SELECT max(seq) FROM audit.event);
CREATE FUNCTION audit.touch() RETURNS int LANGUAGE sql VOLATILE RETURN 1;
CREATE FUNCTION audit.become() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER RETURN 1;
CREATE TABLE rotator.later (n int GENERATED ALWAYS AS IDENTITY);
CREATE SEQUENCE rotator.number;
`)}}
	for _, name := range []string{"0001_audit.sql", "0002_state.sql", "0003_views.sql"} {
		text, err := migrations.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = &fstest.MapFile{Data: text}
	}
	return all
}

// TestRightsFollow: a second time there is nothing to do; roles that were named
// once have what a later migration brings, without being named again.
func TestRightsFollow(t *testing.T) {
	t.Parallel()
	roles, dsn, _ := newRoles(t, "CREATEROLE")
	if got := rights(t, dsn, migrations.FS, postgres.MigrateOptions{}); len(got) == 0 || strings.Contains(strings.Join(got, "\n"), "GRANT") {
		t.Errorf("rights without roles: %q", got) // PUBLIC loses the new functions
	}
	first := strings.Join(rights(t, dsn, migrations.FS, roles), "\n")
	for _, want := range []string{
		"CREATE ROLE " + roles.Writer + " NOLOGIN", "CREATE ROLE " + roles.Auditor + " NOLOGIN", "CREATE ROLE " + roles.Owner + " NOLOGIN",
		"ALTER SCHEMA audit OWNER TO " + roles.Owner, "ALTER SCHEMA rotator OWNER TO " + roles.Owner,
		"GRANT USAGE ON SCHEMA audit TO " + roles.Auditor, "GRANT USAGE ON SCHEMA audit, rotator TO " + roles.Writer,
	} {
		if !strings.Contains(first, want) {
			t.Errorf("the rights given lack %q:\n%s", want, first)
		}
	}
	for _, again := range []postgres.MigrateOptions{roles, {}, {Writer: roles.Writer}} {
		if got := rights(t, dsn, migrations.FS, again); got != nil {
			t.Errorf("again with %+v: %q", again, got)
		}
	}
	rights(t, dsn, next(t), postgres.MigrateOptions{})
	const may = `SELECT string_agg(concat_ws(' ', r.rolname = $1,
			has_table_privilege(r.oid, 'audit.later', 'SELECT'), has_table_privilege(r.oid, 'audit.later', 'INSERT'),
			has_function_privilege(r.oid, 'audit.look()', 'EXECUTE'), has_function_privilege(r.oid, 'audit.touch()', 'EXECUTE'),
			has_function_privilege(r.oid, 'audit.become()', 'EXECUTE'),
			has_table_privilege(r.oid, 'rotator.later', 'INSERT'), has_sequence_privilege(r.oid, 'rotator.number', 'USAGE')), ' | ' ORDER BY r.rolname <> $1)
		FROM pg_roles r WHERE r.rolname IN ($1, $2)`
	var got string
	if err := pgtest.Pool(t, dsn).QueryRow(t.Context(), may, roles.Writer, roles.Auditor).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if want := "t t f t f f t t | f t f t f f f f"; got != want {
		t.Errorf("writer and auditor may: %s, want %s", got, want)
	}
	if got := one[string](t, dsn, "SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relname = 'later'"); got != roles.Owner {
		t.Errorf("what came later belongs to %s, want %s", got, roles.Owner)
	}
}

// TestRightsAreTaken: a role that is named ends up with what it should have
// and no more; PUBLIC does in any case.
func TestRightsAreTaken(t *testing.T) {
	t.Parallel()
	roles, dsn, _ := newRoles(t, "CREATEROLE")
	roles.Owner = ""
	rights(t, dsn, migrations.FS, roles)
	asAdmin(t, dsn,
		"GRANT USAGE ON SCHEMA rotator TO "+roles.Auditor, "GRANT SELECT ON rotator.setting TO "+roles.Auditor,
		"GRANT INSERT, DELETE ON audit.event TO "+roles.Auditor, "GRANT INSERT ON audit.event_000000000000000 TO "+roles.Auditor,
		"GRANT UPDATE (root) ON audit.head TO "+roles.Auditor, "GRANT EXECUTE ON FUNCTION audit.add_partition TO "+roles.Auditor,
		"GRANT CREATE ON SCHEMA audit TO "+roles.Auditor, "GRANT SELECT ON audit.head TO PUBLIC", "GRANT SELECT ON rotator.run TO PUBLIC")
	want := []string{"REVOKE SELECT ON TABLE audit.head, rotator.run FROM PUBLIC"}
	if diff := cmp.Diff(want, rights(t, dsn, migrations.FS, postgres.MigrateOptions{Writer: roles.Writer})); diff != "" {
		t.Errorf("with another role named (-want +got):\n%s", diff)
	}
	want = []string{
		"REVOKE CREATE ON SCHEMA audit FROM " + roles.Auditor,
		"REVOKE DELETE, INSERT ON TABLE audit.event FROM " + roles.Auditor,
		"REVOKE EXECUTE ON ROUTINE audit.add_partition(bigint) FROM " + roles.Auditor,
		"REVOKE INSERT ON TABLE audit.event_000000000000000 FROM " + roles.Auditor,
		"REVOKE SELECT ON TABLE rotator.setting FROM " + roles.Auditor,
		"REVOKE UPDATE (root) ON TABLE audit.head FROM " + roles.Auditor,
		"REVOKE USAGE ON SCHEMA rotator FROM " + roles.Auditor,
	}
	if diff := cmp.Diff(want, rights(t, dsn, migrations.FS, postgres.MigrateOptions{Auditor: roles.Auditor})); diff != "" {
		t.Errorf("with the role named (-want +got):\n%s", diff)
	}
	if got := rights(t, dsn, migrations.FS, roles); got != nil {
		t.Errorf("afterwards: %q", got)
	}
}

// TestRightsInLockedDownDatabase: where PUBLIC may not even connect.
func TestRightsInLockedDownDatabase(t *testing.T) {
	t.Parallel()
	roles, dsn, _ := newRoles(t, "NOCREATEROLE")
	roles.Owner = ""
	pgtest.MakeRole(t, roles.Writer, "LOGIN")
	pgtest.MakeRole(t, roles.Auditor, "LOGIN")
	asAdmin(t, dsn, "DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); END $$", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	rights(t, dsn, migrations.FS, roles)
	for _, role := range []string{roles.Writer, roles.Auditor} {
		if err := postgres.CheckSchema(t.Context(), pgtest.Pool(t, pgtest.Login(t, dsn, role)), migrations.FS); err != nil {
			t.Error(err)
		}
	}
	if got := rights(t, dsn, migrations.FS, roles); got != nil {
		t.Errorf("again: %q", got)
	}
}

// TestRightsNeedAnAdministrator: what this login may not do, the message tells
// somebody else to do, in SQL. Doing that is enough.
func TestRightsNeedAnAdministrator(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, roles postgres.MigrateOptions, dsn, login string) (postgres.MigrateOptions, string){
		"a missing role": func(_ *testing.T, roles postgres.MigrateOptions, _, _ string) (postgres.MigrateOptions, string) {
			return postgres.MigrateOptions{Writer: roles.Writer}, "CREATE ROLE " + roles.Writer + " NOLOGIN"
		},
		"no member of the owner": func(t *testing.T, roles postgres.MigrateOptions, _, login string) (postgres.MigrateOptions, string) {
			t.Helper()
			pgtest.MakeRole(t, roles.Owner, "NOLOGIN")
			return postgres.MigrateOptions{Owner: roles.Owner}, "GRANT " + roles.Owner + " TO " + login
		},
		"the schemas belong to somebody else": func(t *testing.T, roles postgres.MigrateOptions, dsn, login string) (postgres.MigrateOptions, string) {
			t.Helper()
			pgtest.MakeRole(t, roles.Owner, "NOLOGIN")
			pgtest.MakeRole(t, roles.Auditor, "NOLOGIN")
			rights(t, pgtest.Superuser(t, dsn), migrations.FS, postgres.MigrateOptions{Owner: roles.Owner})
			return postgres.MigrateOptions{Auditor: roles.Auditor}, "GRANT " + roles.Owner + " TO " + login
		},
		"the database belongs to somebody else": func(t *testing.T, roles postgres.MigrateOptions, dsn, login string) (postgres.MigrateOptions, string) {
			t.Helper()
			pgtest.MakeRole(t, roles.Auditor, "NOLOGIN")
			rights(t, dsn, migrations.FS, postgres.MigrateOptions{})
			pgtest.Give(t, dsn, "rotator_test_owner")
			asAdmin(t, dsn, "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());"+
				" EXECUTE format('GRANT CONNECT ON DATABASE %I TO "+login+"', current_database()); END $$")
			return postgres.MigrateOptions{Auditor: roles.Auditor}, "GRANT CONNECT ON DATABASE "
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roles, dsn, login := newRoles(t, "NOCREATEROLE")
			opts, remedy := prepare(t, roles, dsn, login)
			_, err := postgres.Migrate(t.Context(), secret.New(dsn), migrations.FS, opts)
			if !errors.Is(err, postgres.ErrRoles) || !strings.Contains(err.Error(), remedy) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v, want advice to run %s", err, remedy)
			}
			_, sql, _ := strings.Cut(err.Error(), "must run in this database: ")
			sql, _, _ = strings.Cut(sql, "; then run `rotator migrate up`")
			asAdmin(t, dsn, strings.Split(sql, "; ")...)
			rights(t, dsn, migrations.FS, opts)
		})
	}
}

// TestSuperusersSchemas: nobody is told to become a superuser.
func TestSuperusersSchemas(t *testing.T) {
	t.Parallel()
	roles, dsn, _ := newRoles(t, "CREATEROLE")
	rights(t, pgtest.Superuser(t, dsn), migrations.FS, postgres.MigrateOptions{})
	_, err := postgres.Migrate(t.Context(), secret.New(dsn), migrations.FS, roles)
	if !errors.Is(err, postgres.ErrRoles) || !strings.Contains(err.Error(), "--owner-role") || strings.Contains(err.Error(), "GRANT rotator TO") {
		t.Fatalf("got %v, want advice to name an owner", err)
	}
	rights(t, pgtest.Superuser(t, dsn), migrations.FS, roles)
	if got := rights(t, dsn, migrations.FS, roles); got != nil {
		t.Errorf("after the superuser named the roles: %q", got)
	}
}

// TestThreeRoles: one role cannot be two.
func TestThreeRoles(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	for _, roles := range []postgres.MigrateOptions{{Writer: "x", Owner: "x"}, {Writer: "x", Auditor: "x"}, {Auditor: "x", Owner: "x"}} {
		if _, err := postgres.Migrate(t.Context(), secret.New(dsn), migrations.FS, roles); !errors.Is(err, postgres.ErrRoles) {
			t.Errorf("%+v: %v", roles, err)
		}
	}
}

// TestOddNames: a role's name may be anything.
func TestOddNames(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	roles := postgres.MigrateOptions{Writer: `a writer's "rôle"`, Auditor: `USER; drop schema audit`, Owner: `%I $1`}
	defer asAdmin(t, dsn, `DROP SCHEMA audit, rotator CASCADE`, `DROP ROLE "a writer's ""rôle"""`, `DROP ROLE "USER; drop schema audit"`, `DROP ROLE "%I $1"`)
	rights(t, pgtest.Superuser(t, dsn), migrations.FS, roles)
	if got := rights(t, pgtest.Superuser(t, dsn), migrations.FS, roles); got != nil {
		t.Errorf("again: %q", got)
	}
}

// TestRolesRace names the same roles, which nobody has made yet, in several
// databases of one server at once.
func TestRolesRace(t *testing.T) {
	t.Parallel()
	const databases, rounds = 6, 12
	login := pgtest.RoleName(t)
	var rounded []postgres.MigrateOptions
	for range rounds {
		rounded = append(rounded, postgres.MigrateOptions{Writer: pgtest.RoleName(t), Auditor: pgtest.RoleName(t), Owner: pgtest.RoleName(t)})
	}
	pgtest.MakeRole(t, login, "LOGIN CREATEROLE")
	var urls []string
	for i := range databases {
		dsn := pgtest.Empty(t)
		pgtest.Give(t, dsn, login)
		rights(t, pgtest.Login(t, dsn, login), migrations.FS, postgres.MigrateOptions{})
		urls = append(urls, pgtest.Login(t, dsn, login))
		if i == 0 {
			urls[i] = pgtest.Superuser(t, dsn)
		}
	}
	for i, roles := range rounded {
		if i%4 > 0 { // so that joining the owner is what they do at once
			pgtest.MakeRole(t, roles.Owner, "NOLOGIN")
		}
		var g errgroup.Group
		for _, url := range urls {
			g.Go(func() error {
				_, err := postgres.Migrate(t.Context(), secret.New(url), migrations.FS, roles)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
}
