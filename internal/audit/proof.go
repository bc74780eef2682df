package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof means that a file is no proof in a form that is known here.
var ErrProof = errors.New("not a proof that can be read")

// Proof says something about a log that can be checked without it: that it
// holds an event (inclusion), or that it goes on from what it was
// (consistency).
type Proof struct {
	// Body is the event's, byte for byte; nil in a consistency proof.
	Body  json.RawMessage
	Index int64 // of the event: its sequence number

	// Older is the checkpoint that Newer continues; zero in an inclusion
	// proof.
	Older Signed
	Newer Signed
	// Hashes are the audit path or the consistency proof of RFC 6962.
	Hashes []tlog.Hash
}

// Signed is a checkpoint with its signatures.
type Signed struct {
	Checkpoint

	Note    string // verbatim
	Claimed string // who the note says has signed it: names with the hashes of keys
}

// Inclusion reports whether the proof is one of an event.
func (p *Proof) Inclusion() bool { return p.Body != nil }

// First lines of proofs. The first is C2SP's (c2sp.org/tlog-proof), the second
// ours: there is no common form of consistency proofs.
const (
	inclusionTitle   = "c2sp.org/tlog-proof@v1"
	consistencyTitle = "rotator-audit/consistency-proof@v1"
)

const (
	// proofLimit bounds a proof's file: two notes and a body of 16 KiB in
	// base64 are far below.
	proofLimit = 1 << 18
	// hashesLimit is as many as a tree of 2^63 leaves can need.
	hashesLimit = 64
)

// Text is the proof as it is written to a file; docs/proofs.md describes it
// byte for byte.
func (p *Proof) Text() string {
	var b strings.Builder
	if p.Inclusion() {
		fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", inclusionTitle, base64.StdEncoding.EncodeToString(p.Body), p.Index)
	} else {
		fmt.Fprintf(&b, "%s\n", consistencyTitle)
	}
	for _, h := range p.Hashes {
		fmt.Fprintf(&b, "%s\n", root64(h))
	}
	if !p.Inclusion() {
		fmt.Fprintf(&b, "\n%s", p.Older.Note)
	}
	fmt.Fprintf(&b, "\n%s", p.Newer.Note)
	return b.String()
}

// ParseProof reads a proof. It judges the form alone: what the proof says, and
// who signed it, is VerifyProof's. Its error matches ErrProof.
func ParseProof(text string) (*Proof, error) {
	if len(text) > proofLimit {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrProof, proofLimit)
	}
	head, rest, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	p := &Proof{}
	var err error
	switch {
	case !found:
		return nil, fmt.Errorf("%w: no empty line and checkpoint after it", ErrProof)
	case lines[0] == inclusionTitle:
		lines, err = p.parseEvent(lines[1:])
	case lines[0] == consistencyTitle:
		lines = lines[1:]
		p.Older, rest, err = firstNote(rest)
	default:
		return nil, fmt.Errorf("%w: it begins neither with %s nor with %s", ErrProof, inclusionTitle, consistencyTitle)
	}
	if err != nil {
		return nil, err
	}
	if p.Hashes, err = parseHashes(lines); err != nil {
		return nil, err
	}
	if p.Newer, err = parseSigned(rest); err != nil {
		return nil, err
	}
	return p, nil
}

// parseEvent reads the lines "extra" and "index", and returns those behind.
func (p *Proof) parseEvent(lines []string) ([]string, error) {
	if len(lines) < 2 {
		return nil, fmt.Errorf("%w: it has no extra and no index line", ErrProof)
	}
	extra, ok := strings.CutPrefix(lines[0], "extra ")
	if !ok {
		return nil, fmt.Errorf("%w: its second line is not \"extra\" with an event in base64; rotator's proofs bring the event with them", ErrProof)
	}
	body, err := base64.StdEncoding.Strict().DecodeString(extra)
	if err != nil || strings.ContainsAny(extra, "\r") {
		return nil, fmt.Errorf("%w: its extra line is no base64", ErrProof)
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("%w: the event in its extra line is no JSON", ErrProof)
	}
	index, ok := strings.CutPrefix(lines[1], "index ")
	p.Index, err = strconv.ParseInt(index, 10, 64)
	if !ok || err != nil || p.Index < 0 || strconv.FormatInt(p.Index, 10) != index {
		return nil, fmt.Errorf("%w: its third line is not \"index\" with the event's number", ErrProof)
	}
	p.Body = body
	return lines[2:], nil
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	if len(lines) > hashesLimit {
		return nil, fmt.Errorf("%w: no tree needs %d hashes", ErrProof, len(lines))
	}
	hashes := make([]tlog.Hash, 0, len(lines))
	for _, line := range lines {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || strings.ContainsAny(line, "\r") {
			return nil, fmt.Errorf("%w: %q is no hash", ErrProof, shorten(line))
		}
		hashes = append(hashes, tlog.Hash(h))
	}
	return hashes, nil
}

// firstNote takes the first of two notes: one ends where an empty line follows
// its signatures.
func firstNote(text string) (Signed, string, error) {
	body, rest, _ := strings.Cut(text, "\n\n")
	signatures, rest, found := strings.Cut(rest, "\n\n")
	if !found {
		return Signed{}, "", fmt.Errorf("%w: it does not hold two checkpoints", ErrProof)
	}
	s, err := parseSigned(body + "\n\n" + signatures + "\n")
	return s, rest, err
}

// parseSigned reads a checkpoint's note, whoever has signed it.
func parseSigned(signed string) (Signed, error) {
	_, err := note.Open([]byte(signed), note.VerifierList())
	var n *note.UnverifiedNoteError
	if !errors.As(err, &n) || strings.Contains(n.Note.Text, "\n\n") {
		return Signed{}, fmt.Errorf("%w: what should be a signed checkpoint is none", ErrProof)
	}
	c, err := ParseCheckpoint(n.Note.Text)
	if err != nil {
		return Signed{}, fmt.Errorf("%w: %s", ErrProof, err) //nolint:errorlint // unreadable is not forged
	}
	return Signed{Checkpoint: c, Note: signed, Claimed: signers(n.Note)}, nil
}

// shorten keeps what is quoted from a file within a line.
func shorten(text string) string {
	if len(text) > 60 {
		return text[:60] + "…"
	}
	return text
}
