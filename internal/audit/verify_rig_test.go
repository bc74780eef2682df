package audit_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
)

// witness signs checkpoints of a log as rotator does, but of any size and
// root, at any time: also those that no honest process would make.
type witness struct {
	store  *shelf
	origin string
	key    string // verifier key
	signer note.Signer
}

func newWitness(t testing.TB, origin string) *witness {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "witness")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &witness{store: newShelf(), origin: origin, key: public, signer: signer}
}

// witnessOf is a witness of a database's log.
func witnessOf(t testing.TB, pool *pgxpool.Pool) *witness {
	t.Helper()
	origin, err := audit.Origin(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return newWitness(t, origin)
}

// archive is what the witness keeps, read by who knows its key from outside.
func (w *witness) archive(t testing.TB) *audit.Archive {
	t.Helper()
	keys, err := audit.NewKeyring(w.key)
	if err != nil {
		t.Fatal(err)
	}
	return &audit.Archive{Store: w.store, Keys: keys}
}

// claim is a checkpoint.
type claim struct {
	epoch    int // 0 is 1
	size     int64
	root     tlog.Hash
	frontier []byte // nil: not kept
	at       time.Time
	origin   string // "": the witness's
}

// sign signs and keeps a checkpoint.
func (w *witness) sign(t testing.TB, c claim) {
	t.Helper()
	c.epoch = max(c.epoch, 1)
	if c.origin == "" {
		c.origin = w.origin
	}
	if c.at.IsZero() {
		c.at = time.Now()
	}
	text := audit.Checkpoint{Origin: fmt.Sprintf("%s/%d", c.origin, c.epoch), Size: c.size, Root: c.root}.Text()
	signed, err := note.Sign(&note.Note{Text: text}, w.signer)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{"note": string(signed), "anchored_at": c.at.UTC().Format(time.RFC3339)}
	if c.frontier != nil {
		fields["frontier"] = base64.StdEncoding.EncodeToString(c.frontier)
	}
	if err := w.store.Create(t.Context(), c.path(), fields); err != nil {
		t.Fatal(err)
	}
}

func (c claim) path() string {
	return fmt.Sprintf("checkpoints/%d/%s/%016d", max(c.epoch, 1), c.at.UTC().Format(time.DateOnly), c.size)
}

// anchor signs what the database's head says now.
func (w *witness) anchor(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	w.sign(t, headOf(t, pool))
}

// headOf is a checkpoint of the log as its head says it is.
func headOf(t testing.TB, pool *pgxpool.Pool) claim {
	t.Helper()
	c := claim{at: time.Now(), frontier: []byte{}}
	var root []byte
	if err := pool.QueryRow(t.Context(), "select size, root, frontier from audit.head").Scan(&c.size, &root, &c.frontier); err != nil {
		t.Fatal(err)
	}
	c.root = tlog.Hash(root)
	return c
}

// verify verifies a database's log against the witness's checkpoints.
func (w *witness) verify(t testing.TB, pool *pgxpool.Pool, change ...func(*audit.VerifyConfig)) *audit.Verdict {
	t.Helper()
	cfg := audit.VerifyConfig{Archive: w.archive(t), MaxAge: time.Hour, Now: time.Now()}
	for _, c := range change {
		c(&cfg)
	}
	return audit.VerifyDatabase(t.Context(), pool, cfg)
}

// shown is a verdict for the eye.
func shown(v *audit.Verdict) string {
	text := fmt.Sprintf("%d %s, %d events, %d checkpoints", v.ExitCode, v.Word, v.Events, v.Checkpoints)
	for _, f := range v.Findings {
		text += "\n  " + f.Kind
		if f.From != nil {
			text += fmt.Sprintf(" %d..%d", *f.From, *f.To)
		}
		text += ": " + f.Text
	}
	for name, list := range map[string][]string{"unproven": v.Unproven, "unchecked": v.Unchecked, "warning": v.Warnings, "note": v.Notes} {
		for _, s := range list {
			text += "\n  " + name + ": " + s
		}
	}
	return text
}

// drop removes documents whose path holds a text, as no login of rotator's
// can.
func (s *shelf) drop(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.docs, func(path string, _ []map[string]string) bool { return strings.Contains(path, text) })
}

// move renames a document.
func (s *shelf) move(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[to] = s.docs[from]
	delete(s.docs, from)
}

// strip takes a field off a document.
func (s *shelf) strip(path, field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.docs[path][0], field)
}
