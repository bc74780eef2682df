package audit

import (
	"encoding/json"
	"regexp"
	"time"
)

// meaning follows what the events tell: calls, runs, epochs, what was dropped.
func (v *verification) meaning(r *row, c *content) {
	v.ids.see(v, r.seq, c)
	v.tail.see(v, r.seq, c)
	switch string(c[fieldType]) {
	case APICall:
		v.calls.see(v, r.seq, c)
	case RunStarted, RunFinished, RotationPlanned, RotationPublished, RotationFailed, KeyRetired, KeyOrphanDeleted:
		v.runs.see(v, r, c)
	case AuditRebased:
		v.rebased(r)
	case AuditPartitionDropped:
		v.partitionDropped(r)
	}
}

// tail is what stands after the last checkpoint that the log fits.
type tail struct {
	from   int64 // seq of its first event
	first  time.Time
	oldest time.Time // of the first event that needs a checkpoint
	seq    int64     // of that
}

func (t *tail) see(v *verification, seq int64, c *content) {
	if t.first.IsZero() {
		t.first = v.last
	}
	if t.oldest.IsZero() && !v.ownBusiness(c) {
		t.oldest, t.seq = v.last, seq
	}
}

// ownBusiness reports events that never need a checkpoint: logins, renewals,
// and what is done to make checkpoints.
func (v *verification) ownBusiness(c *content) bool {
	switch string(c[fieldOp]) {
	case "vault.login", "vault.renew", "vault.transit":
		return true
	}
	return c[fieldVaultPath] != nil && v.aboutCheckpoints(c)
}

// documentForm is how the documents outside the database are called, whatever
// stands before.
var documentForm = regexp.MustCompile(`(^|/)(checkpoints(/\d+(/\d{4}-\d\d-\d\d(/\d{16})?)?)?|keys(/[0-9a-f]{8})?|signing-key)$`)

// aboutCheckpoints reports whether an event's path is one of the documents
// outside the database, which belong to no project. It goes by their form: who
// verifies need not know below which prefix they are kept.
func (v *verification) aboutCheckpoints(c *content) bool {
	return c[fieldProject] == nil && documentForm.Match(c[fieldVaultPath])
}

// tellTail says what the last checkpoint does not cover.
func (v *verification) tellTail() {
	t := &v.tail
	if v.verdict.Last == nil {
		t.from = v.start
	}
	v.verdict.Tail = Tail{Events: v.next - t.from}
	if v.verdict.Tail.Events > 0 {
		v.verdict.Tail.From, v.verdict.Tail.To, v.verdict.Tail.Oldest = t.first, v.last, t.oldest
	}
	now := v.cfg.Now
	if now.IsZero() {
		now = v.last
	}
	if v.verdict.Last == nil || v.cfg.Until > 0 || t.oldest.IsZero() || now.Sub(t.oldest) <= v.cfg.MaxAge {
		return
	}
	v.unproven("events since %s (from event %d on) have no checkpoint, longer than %s (AUDIT_CHECKPOINT_MAX_AGE): what is false there cannot be found; the next run makes one if it can write Vault",
		moment(t.oldest), t.seq, v.cfg.MaxAge)
}

// partitionDropped notes events that the log says were dropped.
func (v *verification) partitionDropped(r *row) {
	var e Event
	if json.Unmarshal(r.body, &e) != nil {
		return
	}
	if last, ok := e.Counters["last"]; ok {
		v.dropped = append(v.dropped, hole{from: e.Counters["first"], to: last})
	}
}

// tellDropped holds what is missing at the log's beginning against what it
// says was dropped.
func (v *verification) tellDropped() {
	if v.cfg.From != nil || v.start == 0 {
		return
	}
	upTo := int64(0)
	for again := true; again; {
		again = false
		for _, d := range v.dropped {
			if d.from <= upTo && d.to >= upTo {
				upTo, again = d.to+1, true
			}
		}
	}
	if upTo >= v.start {
		v.note("events 0 to %d were dropped with `rotator audit drop-partition`; the log is verified from there on", v.start-1)
		return
	}
	v.find(between(upTo, v.start-1, FoundMissing, "%s missing at the log's beginning, and no audit.partition_dropped in it says so", counted(upTo, v.start-1)))
}
