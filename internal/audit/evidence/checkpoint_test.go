package evidence_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
	"rotator/internal/audit/evidence"
	"rotator/internal/postgres/pgtest"
)

// shelf is a store of documents in memory.
type shelf map[string]map[string]string

func (s shelf) Create(_ context.Context, name string, fields map[string]string) error {
	s[name] = fields
	return nil
}

func (s shelf) Read(_ context.Context, name string, _ int) (map[string]string, error) {
	if fields, ok := s[name]; ok {
		return fields, nil
	}
	return nil, audit.ErrAbsent
}

func (s shelf) List(_ context.Context, folder string) ([]string, error) {
	var names []string
	for name := range s {
		if rest, below := strings.CutPrefix(name, folder+"/"); below {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// unreachable is a store that nobody answers for.
type unreachable struct{ shelf }

var errAway = errors.New("nobody answers")

func (unreachable) List(context.Context, string) ([]string, error) { return nil, errAway }

// notary signs checkpoints and puts them on a shelf.
type notary struct {
	shelf    shelf
	signer   note.Signer
	verifier string
}

func newNotary(t *testing.T) *notary {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "rotator-audit")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &notary{shelf: shelf{}, signer: signer, verifier: public}
}

// anchor puts a checkpoint on the shelf and returns its note.
func (n *notary) anchor(t *testing.T, c audit.Checkpoint) string {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: c.Text()}, n.signer)
	if err != nil {
		t.Fatal(err)
	}
	name := path.Join("checkpoints", path.Base(c.Origin), "2026-02-01", fmt.Sprintf("%016d", c.Size))
	n.shelf[name] = map[string]string{"note": string(signed), "anchored_at": "2026-02-01T00:00:00Z"}
	return string(signed)
}

// archive trusts the notary's key, pinned or found.
func (n *notary) archive(t *testing.T) func(*evidence.Config) {
	t.Helper()
	keys, err := audit.NewKeyring(n.verifier)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *evidence.Config) {
		c.Archive, c.Source = &audit.Archive{Store: n.shelf, Keys: keys}, "the shelf"
	}
}

// head is what a checkpoint of the whole log says.
func head(t *testing.T, pool *pgxpool.Pool) audit.Checkpoint {
	t.Helper()
	var c audit.Checkpoint
	var root []byte
	if err := pool.QueryRow(t.Context(), "SELECT s.origin || '/1', h.size, h.root FROM audit.head h, audit.setting s").Scan(&c.Origin, &c.Size, &root); err != nil {
		t.Fatal(err)
	}
	c.Root = tlog.Hash(root)
	return c
}

// TestCheckpoint holds a report against what stands outside the database.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := january(t, pool)
	full := head(t, pool)
	s.append(audit.Event{Type: audit.AuditExported}) // of February: no event of the period
	other := full
	other.Origin = "rotator-audit/another/1"
	short, long, wrong := full, full, head(t, pool)
	short.Size -= 30
	long.Size += 100
	wrong.Root[0]++
	for name, c := range map[string]struct {
		checkpoint *audit.Checkpoint
		covers     bool
		uncovered  int64
		warning    string
	}{
		"covers":        {&full, true, 0, ""},
		"too short":     {&short, false, 30, "newer than the newest checkpoint"},
		"cut log":       {&long, false, 0, "fewer than the"},
		"other history": {&wrong, false, 0, "root is not the one"},
		"other log":     {&other, false, 0, "of another log"},
		"none":          {nil, false, full.Size - firstOfJanuary(t, pool), "there is none in the shelf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNotary(t)
			signed := ""
			if c.checkpoint != nil {
				signed = n.anchor(t, *c.checkpoint)
			}
			pack := collect(t, pool, n.archive(t))
			h := pack.Header
			if c.checkpoint != nil && (h.Checkpoint == nil || h.Checkpoint.Note != signed || h.Checkpoint.Size != c.checkpoint.Size ||
				h.Checkpoint.Root != base64.StdEncoding.EncodeToString(c.checkpoint.Root[:]) || !h.Checkpoint.Pinned || h.Checkpoint.Covers != c.covers) {
				t.Errorf("the checkpoint in the report is %+v, covering should be %v", h.Checkpoint, c.covers)
			}
			warned := strings.Join(h.Warnings, "\n")
			if c.warning == "" && warned != "" || !strings.Contains(warned, c.warning) {
				t.Errorf("warnings are %q, want %q", warned, c.warning)
			}
			table, _ := pack.Table("unanchored")
			if got := rows(t, pack, "unanchored", "events"); (c.uncovered == 0) != (table.RowCount == 0) || c.uncovered > 0 && got[0] != fmt.Sprint(c.uncovered) {
				t.Errorf("%v events are not covered, want %d", got, c.uncovered)
			}
		})
	}
}

func firstOfJanuary(t *testing.T, pool *pgxpool.Pool) (seq int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT min(seq) FROM audit.event WHERE occurred_at >= '2026-01-01T00:00:00Z'").Scan(&seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

// TestStrangeCheckpoints: one that nobody trusted has signed is told of, and
// an archive that cannot be read is an error.
func TestStrangeCheckpoints(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	newStory(t, pool).until(at("2026-01-02T00:00"))
	mine, stranger := newNotary(t), newNotary(t)
	stranger.anchor(t, head(t, pool))
	mine.shelf = stranger.shelf
	pack := collect(t, pool, mine.archive(t))
	if h := pack.Header; h.Checkpoint != nil || !strings.Contains(h.NoCheckpoint, "cannot be relied on") || !strings.Contains(h.Warnings[len(h.Warnings)-1], "cannot be relied on") {
		t.Errorf("a stranger's checkpoint: %+v", h)
	}
	keys, err := audit.LoadKeyring(t.Context(), shelf{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = evidence.Collect(t.Context(), evidence.Config{
		Pool: pool, From: from, To: to, Archive: &audit.Archive{Store: unreachable{}, Keys: keys}, Source: "the moon",
	})
	if !errors.Is(err, errAway) || !strings.Contains(err.Error(), "the moon") {
		t.Errorf("an archive that does not answer: %v", err)
	}
}

// TestUnpinned: a key that was found beside the checkpoint is named as such.
func TestUnpinned(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	newStory(t, pool).until(at("2026-01-02T00:00"))
	n := newNotary(t)
	n.anchor(t, head(t, pool))
	pack := collect(t, pool, n.archive(t), func(c *evidence.Config) { c.Archive.Keys.Pinned = false })
	if h := pack.Header; h.Checkpoint.Pinned || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "not pinned") {
		t.Errorf("pinned %v, warnings %q", h.Checkpoint.Pinned, h.Warnings)
	}
}

// TestOneState: what is appended while the report is being made is in no
// table of it, and not in its header.
func TestOneState(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := newStory(t, pool)
	s.until(at("2026-01-02T00:00"))
	before := head(t, pool)
	pack := collect(t, pool, func(c *evidence.Config) {
		c.Progress = func(done, _ int) {
			if done == 1 {
				s.tell("2026-01-02T01:00", about(audit.GuardRefused, "p1/billing-api - k"), about(audit.KeyDrift, "p1/billing-api - k"))
			}
		}
	})
	if pack.Header.Log.Size != before.Size {
		t.Errorf("the header says %d events, there were %d when it began", pack.Header.Log.Size, before.Size)
	}
	for _, id := range []string{"refusals", "drift"} {
		if table, _ := pack.Table(id); table.RowCount != 0 {
			t.Errorf("%s shows what came after the report was begun", id)
		}
	}
	if after := head(t, pool); after.Size != before.Size+2 {
		t.Errorf("nothing was appended meanwhile: %d, %d", before.Size, after.Size)
	}
	if age := time.Since(pack.Header.GeneratedAt); age < 0 || age > time.Hour {
		t.Errorf("generated %s ago", age)
	}
}
