package evidence

import (
	"strconv"
	"strings"
	"time"
)

// field is one line of the header, for renderers that show it as a list.
type field struct {
	name  string // as JSON nests it, joined by dots
	label string // for people
	value string
}

// fields are the header's lines, without the checkpoint's note.
func (h *Header) fields() []field {
	out := []field{
		{"from", "Period from", h.From.Format(timeForm)},
		{"to", "Period to (not included)", h.To.Format(timeForm)},
		{"generated_at", "Generated at", h.GeneratedAt.Format(timeForm)},
		{"made_by.actor", "Made by (a claim)", h.MadeBy.Actor},
		{"made_by.host", "On host (a claim)", h.MadeBy.Host},
		{"made_by.build", "With rotator", h.MadeBy.Build},
		{"made_by.database_role", "Database role", h.MadeBy.DatabaseRole},
		{"made_by.database", "Database", h.MadeBy.Database},
		{"made_by.server", "Postgres", h.MadeBy.Server},
		{"log.origin", "Log", h.Log.Origin},
		{"log.size", "Events in the log", strconv.FormatInt(h.Log.Size, 10)},
		{"log.root", "Root of its Merkle tree", h.Log.Root},
		{"log.first_seq", "First event here", optionalNumber(h.Log.FirstSeq)},
		{"log.first_at", "First event of", optionalTime(h.Log.FirstAt)},
		{"log.last_at", "Last event of", optionalTime(h.Log.LastAt)},
	}
	out = append(out, h.checkpointFields()...)
	out = append(out, h.verificationFields()...)
	out = append(out, field{"logged", "This report in the log", h.Logged})
	for i, w := range h.Warnings {
		out = append(out, field{"warnings." + strconv.Itoa(i), "Warning", w})
	}
	return out
}

func (h *Header) checkpointFields() []field {
	c := h.Checkpoint
	if c == nil {
		return []field{{"no_checkpoint", "Newest checkpoint", "none: " + h.NoCheckpoint}}
	}
	pinned, covers := "no: read beside the checkpoint", "no: see the table unanchored"
	if c.Pinned {
		pinned = "yes"
	}
	if c.Covers {
		covers = "yes"
	}
	return []field{
		{"checkpoint.source", "Newest checkpoint from", c.Source},
		{"checkpoint.origin", "Its log and epoch", c.Origin},
		{"checkpoint.size", "Events under it", strconv.FormatInt(c.Size, 10)},
		{"checkpoint.root", "Root that it signs", c.Root},
		{"checkpoint.anchored_at", "Anchored at", optionalTime(c.At)},
		{"checkpoint.covers_period", "Covers the whole period", covers},
		{"checkpoint.verifier_keys", "Verifier keys", strings.Join(c.Keys, "\n")},
		{"checkpoint.pinned", "Keys pinned from outside", pinned},
	}
}

func (h *Header) verificationFields() []field {
	v := h.Verification
	if v == nil {
		return []field{{"verification", "Verification", "the log was not verified for this report; `rotator audit verify` does it"}}
	}
	out := []field{
		{"verification.at", "Verified at", v.At.Format(timeForm)},
		{"verification.verdict", "Verdict", v.Verdict},
		{"verification.exit_code", "Exit code of the verification", strconv.Itoa(v.ExitCode)},
		{"verification.size", "Events in the log by then", strconv.FormatInt(v.Size, 10)},
		{"verification.checkpoints", "Held against checkpoints", strconv.Itoa(v.Checkpoints)},
	}
	for i, said := range v.Said {
		out = append(out, field{"verification.said." + strconv.Itoa(i), "It says", said})
	}
	return out
}

func optionalNumber(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func optionalTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(timeForm)
}
