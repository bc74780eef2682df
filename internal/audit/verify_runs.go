package audit

import (
	"encoding/json"
)

// runs counts what the events of each run under way say was done.
type runs map[[16]byte]*runCount

// runCount is one run's. A rotation counts where it was planned in the same
// run: publications of an earlier run's rotation, found after a crash, are
// recorded but not counted as rotated.
type runCount struct {
	planned                    map[string]struct{} // rotations not yet published
	rotated, retired, orphaned int64
}

func (s runs) see(v *verification, r *row, c *content) {
	id, ok := parseUUID(c[fieldRun])
	if !ok {
		return
	}
	if string(c[fieldType]) == RunStarted {
		s[id] = &runCount{planned: map[string]struct{}{}}
		return
	}
	run := s[id]
	if run == nil {
		return // it began before what is looked at
	}
	switch string(c[fieldType]) {
	case RotationPlanned:
		run.planned[string(c[fieldRotation])] = struct{}{}
	case RotationPublished:
		if _, ok := run.planned[string(c[fieldRotation])]; ok {
			run.rotated++
			delete(run.planned, string(c[fieldRotation]))
		}
	case KeyRetired:
		run.retired++
	case KeyOrphanDeleted:
		run.orphaned++
	case RunFinished:
		delete(s, id)
		v.compareRun(r, run)
	}
}

// compareRun holds a run's counters against its events. An event is committed
// before it is counted; one whose commit was not acknowledged, or after which
// something went wrong, stands in the log while the run counted a failure.
func (v *verification) compareRun(r *row, run *runCount) {
	var e Event
	if err := json.Unmarshal(r.body, &e); err != nil || e.Counters == nil {
		return // its columns have been found wanting, or it counts nothing
	}
	n := e.Counters
	excess := run.rotated - n["rotated"] + run.retired - n["retired"] + run.orphaned - n["orphans_deleted"]
	if run.rotated >= n["rotated"] && run.retired >= n["retired"] && run.orphaned >= n["orphans_deleted"] && excess <= n["failed"] {
		return
	}
	f := v.at(r.seq, FoundRun, "run %s says at event %d that it rotated %d keys, retired %d and deleted %d orphans, with %d failures; its events are %d, %d and %d",
		e.Run, r.seq, n["rotated"], n["retired"], n["orphans_deleted"], n["failed"], run.rotated, run.retired, run.orphaned)
	v.find(f)
}
