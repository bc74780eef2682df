package serve_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rotator/internal/postgres/pgtest"
	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

// migration is what a next release might bring: it adds, and takes nothing
// away, so that replicas of this release go on beside those of the next.
const migration = `-- +goose Up
ALTER TABLE rotator.project ADD COLUMN colour text NOT NULL DEFAULT 'none';
ALTER TABLE rotator.rotation ADD COLUMN colour text;
CREATE TABLE rotator.colour (name text PRIMARY KEY);

-- +goose Down
SELECT 1;
`

// nextRelease builds rotator with one migration more.
func nextRelease(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	file, overlay, program := filepath.Join(dir, "next.sql"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "rotator")
	added := map[string]map[string]string{"Replace": {filepath.Join(root, "migrations", "9999_next.sql"): file}}
	text, err := json.Marshal(added)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{file: []byte(migration), overlay: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-ldflags", "-X main.version=next", "-o", program, "rotator/cmd/rotator")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the next release: %v\n%s", err, out)
	}
	return program
}

// TestRollingUpgrade: the schema is migrated under a replica at work, replicas
// of the next release join it, and it leaves. Each key is rotated once, and the
// next release refuses to work before the migration.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Sim: sinchtest.Config{Latency: 20 * time.Millisecond}})
	next := nextRelease(t)
	due := func(names ...string) {
		for _, name := range names {
			w.Due(name)
		}
	}
	due("a1", "a2", "a3")
	old := w.serve()
	w.rotated(3)

	w.Program = next
	w.Set("DATABASE_MIGRATE_URL", pgtest.Installer(t, w.Link))
	w.Run(1, "run-now").Says("rotator migrate up")
	due("b1", "b2", "b3") // the old one is at work meanwhile
	w.Run(0, "migrate", "up").Says("9999_next")
	w.rotated(6)

	fresh := w.serve()
	fresh.ready()
	due("c1", "c2", "c3", "c4", "c5", "c6")
	w.rotated(12)
	old.stop()
	due("d1", "d2")
	w.rotated(14)
	fresh.stop()
	if builds := w.Strings(`select distinct body->>'build' from audit.event where type = 'run.started'`); len(builds) != 2 {
		t.Errorf("runs were begun by %q, want two releases", builds)
	}
	w.Program = ""
	w.Converge() // and back, if it must be
	w.Check(nil)
	if n := w.One(`select count(*) from (select from audit.event where type = 'rotation.created' group by project_id having count(*) > 1) twice`); n > 0 {
		t.Errorf("%d keys were rotated more than once", n)
	}
}
