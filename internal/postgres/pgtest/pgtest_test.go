package pgtest_test

import (
	"testing"

	"rotator/internal/postgres"
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
	if _, err := first.Exec(t.Context(), "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	var seen bool
	if err := second.QueryRow(t.Context(), "SELECT to_regclass('mine') IS NOT NULL").Scan(&seen); err != nil {
		t.Fatal(err)
	}
	if seen {
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
