package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrForged marks a checkpoint, or another signed statement, that is not what
// it should be: malformed, signed by nobody who is trusted, or of another log.
// Permanent: somebody has tampered, or the verifier keys are the wrong ones.
var ErrForged = errors.New("not signed as it should be")

// Checkpoint says how large a log was and which tree its events formed. Signed
// and kept outside the database, it is what the log is held against.
type Checkpoint struct {
	// Origin is the log's name and epoch, "rotator-audit/<uuid>/<epoch>":
	// what one origin has signed is one history.
	Origin string
	Size   int64     // events
	Root   tlog.Hash // of the Merkle tree over them
}

// Text is the checkpoint as it is signed: three lines, as C2SP's
// tlog-checkpoint has them (c2sp.org/tlog-checkpoint).
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpoint reads a checkpoint's text. Lines after the third are
// extensions that it ignores. Its error matches ErrForged.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("%w: a checkpoint has three lines", ErrForged)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("%w: %q is no size of a checkpoint", ErrForged, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: %q is no root of a checkpoint", ErrForged, lines[2])
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

// Epoch is the origin's last component: 1 for a log that was never rebased.
// Its error matches ErrForged.
func (c Checkpoint) Epoch() (int, error) {
	i := strings.LastIndexByte(c.Origin, '/')
	epoch, err := strconv.Atoi(c.Origin[i+1:])
	if i < 0 || err != nil || epoch < 1 {
		return 0, fmt.Errorf("%w: origin %q names no epoch", ErrForged, c.Origin)
	}
	return epoch, nil
}

// epochOrigin is the origin of a log in one epoch.
func epochOrigin(origin string, epoch int) string { return origin + "/" + strconv.Itoa(epoch) }

// Anchor is a checkpoint as it is kept outside the database.
type Anchor struct {
	Checkpoint

	Epoch int
	Note  string // the checkpoint with its signatures, as a signed note
	// At is when it was made, by the clock of who made it: good for telling
	// people, not signed.
	At   time.Time
	day  string // folder it is kept in
	tree tree   // of that size: its root is the checkpoint's
}

// Folders of the documents outside the database.
const (
	checkpointFolder = "checkpoints"
	keyFolder        = "keys"
	signingKeyPath   = "signing-key"
)

// Fields of an anchor's document.
const (
	noteField     = "note"
	frontierField = "frontier"    // hashes of the tree's right edge, base64
	timeField     = "anchored_at" // RFC 3339 UTC
)

// fields is the anchor's document.
func (a Anchor) fields() map[string]string {
	return map[string]string{
		noteField: a.Note, frontierField: base64.StdEncoding.EncodeToString(a.tree.bytes()),
		timeField: a.At.UTC().Format(time.RFC3339),
	}
}

// parseAnchor reads an anchor's document and checks what it says: that its
// note is signed by a trusted key, and that its frontier, where there is one,
// gives its root.
func parseAnchor(keys *Keyring, fields map[string]string) (Anchor, error) {
	a := Anchor{Note: fields[noteField]}
	text, err := keys.Open(a.Note)
	if err != nil {
		return a, err
	}
	if a.Checkpoint, err = ParseCheckpoint(text); err != nil {
		return a, err
	}
	if a.Epoch, err = a.Checkpoint.Epoch(); err != nil {
		return a, err
	}
	if a.At, err = time.Parse(time.RFC3339, fields[timeField]); err != nil {
		a.At = time.Time{} // it is for people only
	}
	frontier, err := base64.StdEncoding.DecodeString(fields[frontierField])
	if err != nil {
		return a, fmt.Errorf("%w: the frontier is no base64", ErrForged)
	}
	if len(frontier) == 0 && a.Size > 0 {
		a.tree = tree{size: -1} // not kept: the log can be compared with the root only
		return a, nil
	}
	if a.tree, err = parseTree(a.Size, a.Root[:], frontier); err != nil {
		return a, fmt.Errorf("%w: its frontier does not give its root", ErrForged)
	}
	return a, nil
}

// Resumable reports whether the anchor keeps enough of the tree to go on from
// it without the events before.
func (a Anchor) Resumable() bool { return a.tree.size == a.Size }
