package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
	"rotator/internal/call"
)

// Exit codes of commands that judge the log (DESIGN.md section 4); 0 is
// intact or proven.
const (
	judgedTampered   = 1
	judgedUnchecked  = 2
	judgedUnprovable = 3
)

// judged gives an error the exit code of a command that judges the log: what
// does not say that something was tampered with could just not be checked.
func judged(err error) error {
	code := judgedUnchecked
	switch {
	case err == nil:
		return nil
	case errors.Is(err, audit.ErrAltered), errors.Is(err, audit.ErrForged), errors.Is(err, audit.ErrDisproved):
		code = judgedTampered
	case errors.Is(err, audit.ErrUnprovable), errors.Is(err, audit.ErrUnknownSigner):
		code = judgedUnprovable
	}
	return &exitError{code: code, err: err}
}

// judging makes a command without arguments exit 2 on flags and arguments that
// it does not know: 1 would say that the log was tampered with.
func judging(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error { return judged(cobra.NoArgs(cmd, args)) }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return judged(err) })
	return cmd
}

// verifyProof checks a proof's file offline and prints what it shows. Pins are
// verifier keys beside AUDIT_VERIFIER_KEYS; dir is a directory of checkpoints,
// or empty. Its error carries the exit code.
func (c *cli) verifyProof(ctx context.Context, file string, pins []string, dir, output string) error {
	return judged(c.readProof(ctx, file, archiveFlags{dir, pins}, output))
}

func (c *cli) readProof(ctx context.Context, file string, from archiveFlags, output string) error {
	archive, err := c.proofArchive(ctx, from)
	if err != nil {
		return err
	}
	in := io.NopCloser(c.in)
	if file != "-" {
		if in, err = os.Open(file); err != nil {
			return fmt.Errorf("--proof: %w", err)
		}
	}
	defer in.Close() //nolint:errcheck // nothing was written
	proof, verdict := audit.VerifyProof(in, archive.Keys)
	if proof == nil {
		return fmt.Errorf("%s: %w", file, verdict)
	}
	shown, err := newProofReport(ctx, proof, archive, verdict)
	if err != nil {
		return err
	}
	if output == "json" {
		err = printJSON(c.out, shown)
	} else {
		err = shown.text(c.out, proof)
	}
	if err != nil {
		return fmt.Errorf("writing what the proof shows: %w", err)
	}
	return verdict //nolint:wrapcheck // its words are for people
}

// proofArchive is what a proof is held against: keys, and the checkpoints of a
// directory, if one is given.
func (c *cli) proofArchive(ctx context.Context, from archiveFlags) (*audit.Archive, error) {
	cfg, err := c.config(ctx, needAudit)
	if err != nil {
		return nil, err
	}
	if from.dir != "" {
		archive, _, err := c.openArchive(ctx, cfg, from.dir, from.pins)
		return archive, err
	}
	keys, err := audit.NewKeyring(append(verifierKeys(cfg.Audit.VerifierKeys), from.pins...)...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the key
	}
	return &audit.Archive{Keys: keys}, nil
}

// proofReport is what a proof shows, for `audit verify --proof -o json`.
type proofReport struct {
	Verdict string           `json:"verdict"` // proven or unknown_signer
	Kind    string           `json:"kind"`    // inclusion or consistency
	Pinned  bool             `json:"pinned"`  // whether trust in who signed comes from outside the checkpoints
	Index   *int64           `json:"index"`   // of the event; null in a consistency proof, as the next
	Event   json.RawMessage  `json:"event"`
	Older   *proofCheckpoint `json:"older"` // null in an inclusion proof
	Newer   *proofCheckpoint `json:"newer"`
}

type proofCheckpoint struct {
	Origin   string   `json:"origin"`
	Size     int64    `json:"size"`
	Root     string   `json:"root"`
	SignedBy []string `json:"signed_by"` // trusted verifier keys
	Claimed  string   `json:"claimed"`   // who the note says has signed it
	// MadeAt is not signed: the directory of checkpoints says it; null where
	// none was given, or it lacks this one.
	MadeAt *time.Time `json:"made_at"`
}

func newProofReport(ctx context.Context, p *audit.Proof, archive *audit.Archive, verdict error) (r proofReport, err error) {
	r = proofReport{Verdict: "proven", Kind: "consistency", Pinned: archive.Keys.Pinned}
	if verdict != nil {
		r.Verdict = "unknown_signer"
	}
	if p.Inclusion() {
		r.Kind, r.Index, r.Event = "inclusion", &p.Index, p.Body
	} else if r.Older, err = newProofCheckpoint(ctx, p.Older, archive); err != nil {
		return r, err
	}
	r.Newer, err = newProofCheckpoint(ctx, p.Newer, archive)
	return r, err
}

func newProofCheckpoint(ctx context.Context, s audit.Signed, archive *audit.Archive) (*proofCheckpoint, error) {
	shown := &proofCheckpoint{
		Origin: s.Origin, Size: s.Size, Root: s.Root.String(), SignedBy: archive.Keys.Signers(s), Claimed: s.Claimed,
	}
	if archive.Store == nil || shown.SignedBy == nil {
		return shown, nil
	}
	anchor, found, err := archive.Find(ctx, s.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("looking for checkpoint %d: %w", s.Size, err)
	}
	if found {
		shown.MadeAt = optional(anchor.At)
	}
	return shown, nil
}

// statement is what a proof shows, in a sentence.
func statement(p *audit.Proof) string {
	if p.Inclusion() {
		e := p.Event()
		return fmt.Sprintf("event %d (%s, %s) is in the log that checkpoint %d of %s signs",
			p.Index, plain(e.Type), eventTime(e), p.Newer.Size, plain(p.Newer.Origin))
	}
	return fmt.Sprintf("checkpoint %d of %s continues checkpoint %d: no event until then was changed or removed",
		p.Newer.Size, plain(p.Newer.Origin), p.Older.Size)
}

// text prints the report for people.
func (r proofReport) text(w io.Writer, p *audit.Proof) error {
	verdict := "PROVEN"
	if r.Verdict != "proven" {
		verdict = "NOT PROVEN, only consistent in itself"
	}
	fmt.Fprintf(w, "%s: %s.\n\n", verdict, statement(p))
	if p.Inclusion() {
		if err := indented(w, r.Event); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECKPOINT\tROOT\tMADE (NOT SIGNED)\tSIGNED BY")
	for _, s := range []*proofCheckpoint{r.Older, r.Newer} {
		if s != nil {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", s.Size, s.Root, madeAt(s.MadeAt), r.signedBy(s))
		}
	}
	return t.Flush() //nolint:wrapcheck // wrapped by the caller
}

func madeAt(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func (r proofReport) signedBy(s *proofCheckpoint) string {
	switch {
	case len(s.SignedBy) == 0:
		return plain(s.Claimed) + " (claimed, not checked)"
	case r.Pinned:
		return strings.Join(s.SignedBy, ", ") + " (pinned, or vouched for by a pinned key)"
	}
	return strings.Join(s.SignedBy, ", ") + " (NOT INDEPENDENTLY PINNED: the key was found beside the checkpoints)"
}

// indented prints a body over several lines. It may be a stranger's: what
// could move a terminal's cursor is taken out.
func indented(w io.Writer, body json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		return fmt.Errorf("reading the event: %w", err)
	}
	for line := range strings.Lines(b.String()) {
		text := strings.TrimLeft(line, " ")
		fmt.Fprintf(w, "%s%s\n", line[:len(line)-len(text)], call.Clean(strings.TrimSuffix(text, "\n"), len(line)))
	}
	return nil
}
