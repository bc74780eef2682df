package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
)

// proofs are files about a made-up log of two events, which somebody signed.
type proofs struct {
	dir, key   string
	signer     note.Signer
	older, all audit.Signed
}

const (
	firstBody  = `{"v":1,"id":"0197a6f0-0000-7000-8000-000000000001","t_us":1790000000000000,"type":"key.retired","key":"k1"}`
	secondBody = `{"v":1,"id":"0197a6f0-0000-7000-8000-000000000002","t_us":1790000000000001,"type":"pause","reason":"[31mred` + "\u009b31m" + `"}`
)

func newProofs(t *testing.T) *proofs {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "rotator-audit/log")
	if err != nil {
		t.Fatal(err)
	}
	p := &proofs{dir: t.TempDir(), key: public}
	if p.signer, err = note.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	first, second := tlog.RecordHash([]byte(firstBody)), tlog.RecordHash([]byte(secondBody))
	p.older, p.all = p.sign(t, 1, first), p.sign(t, 2, tlog.NodeHash(first, second))
	p.write(t, "second", &audit.Proof{Body: []byte(secondBody), Index: 1, Newer: p.all, Hashes: []tlog.Hash{first}})
	p.write(t, "altered", &audit.Proof{Body: []byte(firstBody), Index: 1, Newer: p.all, Hashes: []tlog.Hash{first}})
	p.write(t, "continued", &audit.Proof{Older: p.older, Newer: p.all, Hashes: []tlog.Hash{second}})
	if err := os.WriteFile(p.path("torn"), []byte("c2sp.org/tlog-proof@v1\nextra e30="), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proofs) sign(t *testing.T, size int64, root tlog.Hash) audit.Signed {
	t.Helper()
	c := audit.Checkpoint{Origin: "rotator-audit/log/1", Size: size, Root: root}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, p.signer)
	if err != nil {
		t.Fatal(err)
	}
	return audit.Signed{Checkpoint: c, Note: string(signed)}
}

func (p *proofs) path(name string) string { return filepath.Join(p.dir, name) }

func (p *proofs) write(t *testing.T, name string, proof *audit.Proof) {
	t.Helper()
	if err := os.WriteFile(p.path(name), []byte(proof.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// directory has the checkpoint of both events, and says when it was made and,
// if told, whose key signs.
func (p *proofs) directory(t *testing.T, introduced bool) string {
	t.Helper()
	dir := t.TempDir()
	store := audit.DirStore(dir)
	docs := map[string]map[string]string{
		"checkpoints/1/2026-09-21/0000000000000002": {"note": p.all.Note, "anchored_at": "2026-09-21T15:00:00Z"},
	}
	if introduced {
		signed, err := note.Sign(&note.Note{Text: "rotator audit signing key\n" + p.key + "\nkv\n"}, p.signer)
		if err != nil {
			t.Fatal(err)
		}
		docs[fmt.Sprintf("keys/%08x", p.signer.KeyHash())] = map[string]string{"note": string(signed)}
	}
	for path, fields := range docs {
		if err := store.Create(t.Context(), path, fields); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verify runs verifyProof and returns what it printed, and its exit code.
func (p *proofs) verify(t *testing.T, env envFile, file string, pins []string, dir, output string) (stdout string, code int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c := &cli{streams: streams{in: strings.NewReader(""), out: &out, err: &errs, env: env}}
	if file == "-" {
		c.in = bytes.NewReader([]byte((&audit.Proof{Older: p.older, Newer: p.all, Hashes: []tlog.Hash{tlog.RecordHash([]byte(secondBody))}}).Text()))
	}
	err = c.verifyProof(t.Context(), file, pins, dir, output)
	if err != nil {
		code = exitCode(err)
	}
	if errs.Len() > 0 {
		t.Errorf("stderr: %s", errs.String())
	}
	return out.String(), code, err
}

func TestVerifyProof(t *testing.T) {
	t.Parallel()
	p, stranger := newProofs(t), newProofs(t)
	introduced, bare, empty := p.directory(t, true), p.directory(t, false), t.TempDir()
	pinned := []string{p.key}
	for name, c := range map[string]struct {
		env    envFile
		file   string
		pins   []string
		dir    string
		code   int
		err    error
		prints []string // on stdout; none: nothing
	}{
		"pinned": {
			file: p.path("second"), pins: pinned,
			prints: []string{"PROVEN: event 1 (pause, 2026-09-21T", "is in the log that checkpoint 2 of rotator-audit/log/1 signs.", `"reason": "`, "\n2           " + p.all.Root.String(), p.key + " (pinned"},
		},
		"pinned by the environment": {
			env: envFile{"AUDIT_VERIFIER_KEYS": stranger.key + "," + p.key}, file: p.path("second"), prints: []string{"PROVEN: event 1", p.key + " (pinned"},
		},
		"on standard input":        {file: "-", pins: pinned, prints: []string{"PROVEN: checkpoint 2 of rotator-audit/log/1 continues checkpoint 1: no event"}},
		"a directory's key":        {file: p.path("second"), dir: introduced, prints: []string{"PROVEN", "NOT INDEPENDENTLY PINNED", "2026-09-21T15:00:00Z"}},
		"a directory and a pin":    {file: p.path("continued"), dir: bare, pins: pinned, prints: []string{"PROVEN", "(pinned", "2026-09-21T15:00:00Z"}},
		"no key":                   {file: p.path("second"), code: 3, err: audit.ErrUnknownSigner, prints: []string{"NOT PROVEN, only consistent in itself: event 1", "(claimed, not checked)"}},
		"a directory without keys": {file: p.path("continued"), dir: empty, code: 3, err: audit.ErrUnknownSigner, prints: []string{"NOT PROVEN"}},
		"another's key":            {file: p.path("second"), pins: []string{stranger.key}, code: 1, err: audit.ErrForged},
		"another's directory":      {file: p.path("continued"), dir: stranger.directory(t, true), code: 1, err: audit.ErrForged},
		"an altered event":         {file: p.path("altered"), pins: pinned, code: 1, err: audit.ErrDisproved},
		"an altered event, no key": {file: p.path("altered"), code: 1, err: audit.ErrDisproved},
		"torn":                     {file: p.path("torn"), pins: pinned, code: 2, err: audit.ErrProof},
		"no file":                  {file: p.path("nothing"), pins: pinned, code: 2, err: os.ErrNotExist},
		"a folder":                 {file: p.dir, pins: pinned, code: 2},
		"no directory":             {file: p.path("second"), dir: p.path("nothing"), code: 2},
		"a pin that is none":       {file: p.path("second"), pins: []string{"nonsense"}, code: 2},
		"a variable that is none":  {env: envFile{"AUDIT_VERIFIER_KEYS": "nonsense"}, file: p.path("second"), code: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code, err := p.verify(t, c.env, c.file, c.pins, c.dir, "table")
			if code != c.code || c.err != nil && !errors.Is(err, c.err) || (err == nil) != (c.code == 0) {
				t.Errorf("exit code %d (%v), want %d (%v)", code, err, c.code, c.err)
			}
			if len(c.prints) == 0 && out != "" {
				t.Errorf("printed %s", out)
			}
			for _, want := range c.prints {
				if !strings.Contains(out, want) {
					t.Errorf("it does not print %q:\n%s", want, out)
				}
			}
			if strings.ContainsAny(out, "\x1b\u009b\u202e") {
				t.Errorf("it prints what moves a terminal: %q", out)
			}
		})
	}
}

func TestVerifyProofJSON(t *testing.T) {
	t.Parallel()
	p := newProofs(t)
	index, made := int64(1), time.Date(2026, 9, 21, 15, 0, 0, 0, time.UTC)
	older := &proofCheckpoint{Origin: "rotator-audit/log/1", Size: 1, Root: p.older.Root.String(), SignedBy: []string{p.key}, Claimed: fmt.Sprintf("rotator-audit/log+%08x", p.signer.KeyHash())}
	newer := &proofCheckpoint{Origin: "rotator-audit/log/1", Size: 2, Root: p.all.Root.String(), SignedBy: []string{p.key}, Claimed: older.Claimed, MadeAt: &made}
	unsigned := *newer
	unsigned.SignedBy, unsigned.MadeAt = nil, nil
	for name, c := range map[string]struct {
		file string
		pins []string
		dir  string
		code int
		want proofReport
	}{
		"inclusion": {
			file: "second", pins: []string{p.key}, dir: p.directory(t, false),
			want: proofReport{Verdict: "proven", Kind: "inclusion", Pinned: true, Index: &index, Event: json.RawMessage(secondBody), Newer: newer},
		},
		"consistency": {
			file: "continued", dir: p.directory(t, true),
			want: proofReport{Verdict: "proven", Kind: "consistency", Older: older, Newer: newer},
		},
		"nobody known": {
			file: "second", code: 3,
			want: proofReport{Verdict: "unknown_signer", Kind: "inclusion", Index: &index, Event: json.RawMessage(secondBody), Newer: &unsigned},
		},
	} {
		out, code, _ := p.verify(t, nil, p.path(c.file), c.pins, c.dir, "json")
		var got proofReport
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != c.code {
			t.Errorf("%s: exit code %d, %v: %s", name, code, err, out)
		}
		if string(got.Event) == "null" {
			got.Event = nil
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
