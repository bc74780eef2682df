package pgtest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgcluster"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
	"rotator/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabaseIsMigratedAndPrivate(t *testing.T) {
	t.Parallel()
	first, second := pgtest.New(t), pgtest.New(t)
	if err := postgres.CheckSchema(t.Context(), first, migrations.FS); err != nil {
		t.Errorf("schema of a test database: %v", err)
	}
	if _, err := pgtest.Admin(t, first).Exec(t.Context(), "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	if one[bool](t, second, "SELECT to_regclass('mine') IS NOT NULL") {
		t.Error("a table of one test database shows in another")
	}
}

func TestEmptyHasNoSchema(t *testing.T) {
	t.Parallel()
	status, err := postgres.MigrationStatus(t.Context(), secret.New(pgtest.Empty(t)), migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range status {
		if !s.Pending() {
			t.Errorf("migration %s is applied to an empty database", s.Name)
		}
	}
}

// TestNobodyIsSuperuserUnasked: who a test is, and that each login reaches the
// same database.
func TestNobodyIsSuperuserUnasked(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	database := one[string](t, pgtest.Pool(t, dsn), "SELECT current_database()")
	for _, c := range [][2]string{
		{dsn, "rotator_test_writer"},
		{pgtest.Writer(t, dsn), "rotator_test_writer"},
		{pgtest.Auditor(t, dsn), "rotator_test_auditor"},
		{pgtest.Installer(t, dsn), "rotator_test_installer"},
		{pgtest.Superuser(t, dsn), "superuser"},
	} {
		pool, want := pgtest.Pool(t, c[0]), c[1]
		const who = `SELECT CASE WHEN rolsuper THEN 'superuser' WHEN rolcreaterole OR rolcreatedb THEN 'mighty' ELSE session_user END
			FROM pg_roles WHERE rolname = session_user`
		if got := one[string](t, pool, who); got != want {
			t.Errorf("the login is %s, want %s", got, want)
		}
		if got := one[string](t, pool, "SELECT current_database()"); got != database {
			t.Errorf("%s is in database %s, want %s", want, got, database)
		}
	}
}

// serverEnv is what `make` or a developer may set.
const serverEnv = "ROTATOR_TEST_POSTGRES"

// TestSharedServer runs tests of this package in several processes at once on
// one server, which none of them has made anything on yet.
func TestSharedServer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a Postgres; left out by -short")
	}
	cluster, err := pgcluster.Start(t.Context(), pgcluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	for range 3 {
		t.Run("process", func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestNobodyIsSuperuserUnasked$", "-test.count", "3")
			cmd.Env = append(os.Environ(), serverEnv+"="+cluster.AdminURL())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func one[T any](t *testing.T, pool *pgxpool.Pool, query string) (value T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}
