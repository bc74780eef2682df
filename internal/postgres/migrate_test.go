package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
	"rotator/migrations"
)

// TestMain lets the test binary play one of several processes that migrate.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "migrate" {
		if err := migrateProcess(); err != nil {
			fmt.Println("failed:", err)
		}
		return
	}
	pgtest.Main(m)
}

// migrateProcess says that it is ready, waits for a line with the URL, and
// says what it applied.
func migrateProcess() error {
	fmt.Println("ready")
	url, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	ctx := context.Background()
	done, err := postgres.Migrate(ctx, secret.New(strings.TrimSpace(url)), someMigrations(3), postgres.MigrateOptions{})
	fmt.Println("applied", len(done.Applied))
	return err
}

// someMigrations are n migrations, each a table and a row in a log of them.
func someMigrations(n int) fs.FS {
	fsys := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		first := ""
		if i == 1 {
			first = "CREATE TABLE ran (version int);\nSELECT pg_sleep(0.2);\n"
		}
		text := fmt.Sprintf("-- +goose Up\n%sCREATE TABLE t%d ();\nINSERT INTO ran VALUES (%d);\n", first, i, i)
		fsys[fmt.Sprintf("%04d_t%d.sql", i, i)] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func names(done postgres.Migrated) (names []string) {
	for _, a := range done.Applied {
		names = append(names, a.Name)
	}
	return names
}

func TestMigrateUpStatusAndCheck(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	url, pool := secret.New(dsn), pgtest.Pool(t, dsn)

	err := postgres.CheckSchema(t.Context(), pool, someMigrations(2))
	if !errors.Is(err, postgres.ErrSchemaBehind) || !strings.Contains(err.Error(), "rotator migrate up") || !strings.Contains(err.Error(), "0001_t1.sql, 0002_t2.sql") {
		t.Errorf("an empty database: %v", err)
	}
	for _, step := range []struct {
		files int
		want  []string
	}{
		{2, []string{"0001_t1.sql", "0002_t2.sql"}},
		{2, nil},
		{3, []string{"0003_t3.sql"}},
		{1, nil}, // an older binary after a newer one
	} {
		done, err := postgres.Migrate(t.Context(), url, someMigrations(step.files), postgres.MigrateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, names(done)); diff != "" {
			t.Errorf("applied with %d files (-want +got):\n%s", step.files, diff)
		}
	}
	if err := postgres.CheckSchema(t.Context(), pool, someMigrations(1)); err != nil {
		t.Errorf("a database that is ahead: %v", err)
	}
	if err := postgres.CheckSchema(t.Context(), pool, someMigrations(4)); !errors.Is(err, postgres.ErrSchemaBehind) {
		t.Errorf("a database that is behind: %v", err)
	}
}

func TestStatusListsAppliedPendingAndUnknown(t *testing.T) {
	t.Parallel()
	url := secret.New(pgtest.Empty(t))
	if _, err := postgres.Migrate(t.Context(), url, someMigrations(2), postgres.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{
		"0001_t1.sql":    &fstest.MapFile{},
		"0003_later.sql": &fstest.MapFile{},
		"readme.txt":     &fstest.MapFile{},
	}
	status, err := postgres.MigrationStatus(t.Context(), url, fsys)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range status {
		got = append(got, fmt.Sprintf("%d %s pending=%v", s.Version, s.Name, s.Pending()))
	}
	want := []string{"1 0001_t1.sql pending=false", "2  pending=false", "3 0003_later.sql pending=true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestStatusChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	if _, err := postgres.MigrationStatus(t.Context(), secret.New(dsn), someMigrations(1)); err != nil {
		t.Fatal(err)
	}
	if got := one[bool](t, dsn, "SELECT to_regclass('goose_db_version') IS NULL"); !got {
		t.Error("asking for the status made a table")
	}
}

func TestFailedMigrationLeavesTheOnesBefore(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	fsys := fstest.MapFS{
		"0001_good.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE good ();\n")},
		"0002_bad.sql":  &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE bad ();\nSELECT 1/0;\n")},
	}
	done, err := postgres.Migrate(t.Context(), secret.New(dsn), fsys, postgres.MigrateOptions{})
	if err == nil || !strings.Contains(err.Error(), "division by zero") || errors.Is(err, postgres.ErrUnreachable) {
		t.Errorf("error: %v", err)
	}
	if diff := cmp.Diff([]string{"0001_good.sql"}, names(done)); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if got := one[string](t, dsn, "SELECT concat(to_regclass('good'), '/', to_regclass('bad'))"); got != "good/" {
		t.Errorf("tables: %s, want only good", got)
	}
}

// TestAnybodyMayCheckTheSchema: also a role without rights.
func TestAnybodyMayCheckTheSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	if _, err := postgres.Migrate(t.Context(), secret.New(dsn), someMigrations(1), postgres.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := postgres.CheckSchema(t.Context(), pgtest.Pool(t, pgtest.Auditor(t, dsn)), someMigrations(1)); err != nil {
		t.Error(err)
	}
}

func TestFourProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	var answers []string
	var mu sync.Mutex
	var ready, done sync.WaitGroup
	ready.Add(4)
	for range 4 {
		done.Go(func() {
			answer := migrateElsewhere(t, dsn, &ready)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, answer)
		})
	}
	done.Wait()
	slices.Sort(answers)
	if diff := cmp.Diff([]string{"applied 0\n", "applied 0\n", "applied 0\n", "applied 3\n"}, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if got := one[string](t, dsn, "SELECT string_agg(version::text, ',' ORDER BY version) FROM ran"); got != "1,2,3" {
		t.Errorf("migrations that ran: %s", got)
	}
}

// migrateElsewhere runs migrateProcess, lets it go once all are ready, and
// returns what it says.
func migrateElsewhere(t *testing.T, dsn string, ready *sync.WaitGroup) string {
	t.Helper()
	release := sync.OnceFunc(ready.Done)
	defer release() // or the others wait for ever
	cmd := exec.CommandContext(t.Context(), os.Args[0], "migrate")
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return err.Error()
	}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		return fmt.Sprintf("instead of ready: %q %v", line, err)
	}
	release()
	ready.Wait()
	if _, err := fmt.Fprintln(stdin, dsn); err != nil {
		return err.Error()
	}
	answer, _ := lines.ReadString('\n')
	if rest, _ := lines.ReadString('\n'); rest != "" {
		answer += rest
	}
	if err := cmd.Wait(); err != nil {
		return err.Error()
	}
	return answer
}

func TestShippedMigrationsApply(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	if err := postgres.CheckSchema(t.Context(), pool, migrations.FS); err != nil {
		t.Error(err)
	}
}

// one returns the one value that a query gives.
func one[T any](t *testing.T, dsn, query string) (value T) {
	t.Helper()
	if err := pgtest.Pool(t, dsn).QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}
