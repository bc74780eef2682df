package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// rebase is what an audit.rebased says: the epoch before the one that it opens
// is proven up to common only.
type rebase struct {
	seq, common   int64
	reason, actor string
	at            time.Time
}

// rebased reads an audit.rebased and checks that who signs checkpoints has
// signed it. Where a rebase was tried again, the last one before the epoch's
// first checkpoint counts.
func (v *verification) rebased(r *row) {
	var e Event
	if err := json.Unmarshal(r.body, &e); err != nil {
		return // its columns have been found wanting
	}
	if v.cfg.Archive == nil {
		return // nobody's signature can be checked
	}
	text, err := v.cfg.Archive.Keys.Open(e.Note)
	lines := strings.Split(text, "\n")
	if err == nil {
		err = e.states(v.origin, lines)
	}
	if err != nil {
		v.find(v.at(r.seq, FoundEpoch, "event %d says that epoch %d begins, but its statement is forged: %v", r.seq, e.Epoch, err))
		return
	}
	v.rebases[e.Epoch] = rebase{
		seq: r.seq, common: e.Counters["common_size"], at: v.last,
		actor: lineOf(lines, "actor "), reason: lineOf(lines, "reason "),
	}
}

// states reports whether the event says what its signed statement does.
func (e *Event) states(origin string, lines []string) error {
	want := []string{
		origin + " rebased", fmt.Sprintf("epoch %d", e.Epoch),
		fmt.Sprintf("anchored %d ", e.Counters["anchored_size"]), fmt.Sprintf("actual %d ", e.Counters["actual_size"]),
		fmt.Sprintf("common %d", e.Counters["common_size"]),
	}
	if len(lines) < len(want) {
		return fmt.Errorf("%w: the note is about something else", ErrForged)
	}
	for i, start := range want {
		same := lines[i] == start || strings.HasSuffix(start, " ") && strings.HasPrefix(lines[i], start)
		if !same && (origin != "" || i > 0) {
			return fmt.Errorf("%w: the note says %q where the event says %q", ErrForged, lines[i], start)
		}
	}
	return nil
}

// lineOf is what a statement says in the line that begins so.
func lineOf(lines []string, start string) string {
	for _, line := range lines {
		if said, ok := strings.CutPrefix(line, start); ok {
			return said
		}
	}
	return ""
}

func orUnknown(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return moment(t)
}
