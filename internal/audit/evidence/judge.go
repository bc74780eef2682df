package evidence

import (
	"fmt"
	"strings"
	"time"

	"rotator/internal/audit"
)

// judge compares the log with its newest checkpoint as far as that can be done
// without reading every event, and warns of what limits the tables.
func (p *Pack) judge(newest audit.Anchor) {
	h := &p.Header
	h.Warnings = []string{}
	warn := func(format string, args ...any) { h.Warnings = append(h.Warnings, fmt.Sprintf(format, args...)) }
	if h.Log.FirstAt == nil {
		warn("The log is empty.")
	} else if h.Log.FirstAt.After(h.From) {
		warn("The log begins at %s, after the period does. What was before is known only from what the provider listed later.", h.Log.FirstAt.Format(time.RFC3339))
	}
	if h.Log.FirstSeq != nil && *h.Log.FirstSeq > 0 {
		warn("The events before number %d are not in this database any more; the log's own events say when they were dropped.", *h.Log.FirstSeq)
	}
	if h.Checkpoint == nil {
		warn("No checkpoint outside the database stands behind this report: %s. What the tables say rests on the database alone.", h.NoCheckpoint)
		return
	}
	unanchored, _ := p.Table("unanchored")
	h.Checkpoint.Covers = unanchored.RowCount == 0
	switch {
	case !strings.HasPrefix(newest.Origin, h.Log.Origin+"/"):
		warn("The newest checkpoint is of another log, %s.", newest.Origin)
	case newest.Size > h.Log.Size:
		warn("The log has %d events, fewer than the %d of its newest checkpoint: it was cut, restored or failed over.", h.Log.Size, newest.Size)
	case newest.Size == h.Log.Size && h.Checkpoint.Root != h.Log.Root:
		warn("The log's root is not the one that its newest checkpoint signs, for the same number of events.")
	default:
		p.judgeReach(warn)
		return
	}
	h.Checkpoint.Covers = false
	warn("Do not rely on this report before `rotator audit verify` has explained that.")
}

// judgeReach warns of what a checkpoint that fits does not prove.
func (p *Pack) judgeReach(warn func(string, ...any)) {
	c := p.Header.Checkpoint
	if !c.Covers {
		warn("Some events of the period are newer than the newest checkpoint (table unanchored): nothing outside the database stands behind those yet.")
	}
	if !c.Pinned {
		warn("The checkpoint's verifier key was read beside the checkpoint itself and is not pinned from outside (AUDIT_VERIFIER_KEYS, --verifier-key).")
	}
}

// Verified puts into the header what verifying the log found. Do it after
// Collect: the log that was verified then holds every event of the tables.
func (p *Pack) Verified(v *audit.Verdict, at time.Time) {
	said := []string{}
	for _, f := range v.Findings {
		said = append(said, f.Text)
	}
	for kind, n := range v.Found {
		if n > audit.MaxFindings {
			said = append(said, fmt.Sprintf("%d findings of the kind %s, of which %d are listed", n, kind, audit.MaxFindings))
		}
	}
	said = append(append(append(said, v.Unproven...), v.Unchecked...), v.Warnings...)
	p.Header.Verification = &Verification{
		At: at.UTC(), Verdict: v.Word, ExitCode: v.ExitCode, Size: v.Size, Checkpoints: v.Checkpoints, Said: said,
	}
	if v.ExitCode != audit.VerifiedIntact {
		p.Header.Warnings = append(p.Header.Warnings, "The verification of the log says: "+v.Word+". What it found stands below.")
	}
}
