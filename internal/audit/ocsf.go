package audit

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ocsf writes one OCSF event for each event of the log, in seq order. An
// intent is left out, and counted, where its outcome or resolution is in the
// log too: that one tells of the attempt. An open intent is an attempt of
// which nobody knows how it ended.
func (x Exporter) ocsf(ctx context.Context, w *bufio.Writer, d *Disclosure) error {
	m := mapper{runs: map[string]origin{}}
	if x.Disclosure == "" {
		if err := writeLine(w, notice(x.Snapshot.at.UnixMilli(), x.Build)); err != nil {
			return err
		}
	}
	var left int64
	for batch, err := range x.Snapshot.Batches(ctx, x.Filter) {
		if err != nil {
			return err
		}
		settled, err := x.Snapshot.settled(ctx, batch)
		if err != nil {
			return err
		}
		if err := m.learnRuns(ctx, x.Snapshot, batch); err != nil {
			return err
		}
		for _, r := range batch {
			if r.Event.Phase == Intent && settled[r.Event.Call] {
				left++
				continue
			}
			event, err := m.event(r)
			if err != nil {
				return err
			}
			if err := writeLine(w, event); err != nil {
				return err
			}
			d.Written.Rows++
		}
		x.passed(batch)
	}
	d.Counters = map[string]int64{"settled_intents": left}
	return nil
}

// writeLine writes a value as a line of JSON.
func writeLine(w *bufio.Writer, v any) error {
	body, err := encode(v)
	if err != nil {
		return fmt.Errorf("writing as JSON: %w", err)
	}
	_, _ = w.Write(body)     // a bufio.Writer keeps its error
	return w.WriteByte('\n') //nolint:wrapcheck // wrapped by Exporter.Write
}

// settled tells which calls' intents in a batch have an outcome or a
// resolution anywhere in the log.
func (s *Snapshot) settled(ctx context.Context, batch []Record) (map[string]bool, error) {
	var intended []string
	for _, r := range batch {
		if r.Event.Phase == Intent && r.Event.Call != "" {
			intended = append(intended, r.Event.Call)
		}
	}
	settled := map[string]bool{}
	if len(intended) == 0 {
		return settled, nil
	}
	const query = `select call_id::text from audit.event
		where call_id = any($1::uuid[]) and phase in ('outcome', 'resolved') and audit.mutates(operation)`
	rows, err := s.Query(ctx, query, intended)
	if err != nil {
		return nil, fmt.Errorf("looking for the outcomes of intents: %w", err)
	}
	var call string
	_, err = pgx.ForEachRow(rows, []any{&call}, func() error { settled[call] = true; return nil })
	if err != nil {
		return nil, fmt.Errorf("looking for the outcomes of intents: %w", err)
	}
	return settled, nil
}

// mapper turns events into OCSF. Calls of a run do not say where and by which
// version of the program they were made; the run's start does.
type mapper struct {
	runs map[string]origin
}

// origin is where an event comes from, as far as it is known.
type origin struct{ host, build string }

// rememberedRuns bounds the mapper's memory. The calls of a run lie close
// together, so hardly any is asked for twice.
const rememberedRuns = 1024

// learnRuns finds out where the runs of a batch ran.
func (m *mapper) learnRuns(ctx context.Context, s *Snapshot, batch []Record) error {
	if len(m.runs) > rememberedRuns {
		clear(m.runs)
	}
	var unknown []string
	for _, r := range batch {
		run := r.Event.Run
		if _, known := m.runs[run]; run != "" && !known {
			m.runs[run] = origin{}
			unknown = append(unknown, run)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	const query = `select run_id::text, coalesce(body ->> 'host', ''), coalesce(body ->> 'build', '') from audit.events
		where type = 'run.started' and run_id = any($1::uuid[])`
	rows, err := s.Query(ctx, query, unknown)
	if err != nil {
		return fmt.Errorf("looking for the starts of runs: %w", err)
	}
	var run string
	var from origin
	_, err = pgx.ForEachRow(rows, []any{&run, &from.host, &from.build}, func() error { m.runs[run] = from; return nil })
	if err != nil {
		return fmt.Errorf("looking for the starts of runs: %w", err)
	}
	return nil
}

// event maps one event.
func (m *mapper) event(r Record) (ocsfEvent, error) {
	e, run := r.Event, m.runs[r.Event.Run]
	o := ocsfEvent{
		Time: e.TimeUS / 1000, Metadata: metadataOf(e.ID, e.Type, cmp.Or(e.Build, run.build)),
		Actor: &ocsfActor{AppName: productName},
	}
	o.Metadata.Sequence, o.Metadata.CorrelationUID, o.Metadata.LogVersion = &r.Seq, cmp.Or(e.Rotation, e.Run), strconv.Itoa(e.V)
	if e.Actor != "" {
		o.Actor.User = &ocsfUser{Name: e.Actor}
	}
	taken := o.classify(e, cmp.Or(e.Host, run.host))
	rest, err := unmapped(r, append(taken, "v", "id", "type", "actor", "host", "build"))
	if err != nil {
		return ocsfEvent{}, err
	}
	o.Unmapped = rest
	return o, nil
}

// notice is the event that says, in the file, that the export is not logged.
func notice(now int64, build string) ocsfEvent {
	o := ocsfEvent{Time: now, Metadata: metadataOf(uuid.Must(uuid.NewV7()).String(), AuditExported, build)}
	o.is(baseEvent, activity{99, AuditExported})
	o.rate(low)
	o.Message = "this export was not logged: its database role may not append to the audit log"
	return o
}

const productName = "rotator"

func metadataOf(id, kind, build string) ocsfMetadata {
	return ocsfMetadata{
		Version: OCSFVersion, UID: id, EventCode: kind, LogName: "audit.event",
		Product: ocsfProduct{Name: productName, VendorName: productName, Version: build},
	}
}

// unmapped is the body without what stands elsewhere. Microseconds stay: OCSF
// knows milliseconds only.
func unmapped(r Record, taken []string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &fields); err != nil {
		return nil, fmt.Errorf("decoding audit event %d: %w", r.Seq, err)
	}
	for _, name := range taken {
		delete(fields, name)
	}
	return fields, nil
}
