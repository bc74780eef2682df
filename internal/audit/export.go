package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Format is a form in which the log can be exported.
type Format string

// Formats; docs/export.md describes them.
const (
	// JSONL is the bodies, byte for byte, one a line.
	JSONL Format = "jsonl"
	// CSV is a credential report: a row for each access key.
	CSV Format = "csv"
	// OCSF is JSON Lines of the Open Cybersecurity Schema Framework.
	OCSF Format = "ocsf"
)

// ErrBody means that a body in the log is not in the form that rotator writes,
// so that it cannot be exported: somebody else has put it there. Permanent;
// `rotator audit verify` finds out more.
var ErrBody = errors.New("not as rotator writes events")

// Exporter writes what a snapshot of the log holds in a form for others. It
// streams: memory does not grow with the log.
type Exporter struct {
	Snapshot *Snapshot
	Format   Format
	// Filter narrows it. A report of keys takes less of it, see Unfit.
	Filter Filter
	// Disclosure is the id of the event that will log the export. Empty means
	// that it will not be logged; csv and ocsf then say so.
	Disclosure string
	// Build is the version of this program.
	Build string
	// Progress is told now and then how many of the snapshot's events have
	// been passed, or how many keys out of an unknown number (total 0). It may
	// be nil.
	Progress func(done, total int64)
}

// Unfit names the fields of a filter that a format cannot honour: a report of
// keys knows no single calls.
func (f Format) Unfit(filter Filter) []string {
	if f != CSV {
		return nil
	}
	var unfit []string
	for _, field := range []struct{ name, value string }{
		{"run", filter.Run}, {"type", filter.Type}, {"op", filter.Operation}, {"status", filter.Status}, {"outcome", filter.Outcome},
	} {
		if field.value != "" {
			unfit = append(unfit, field.name)
		}
	}
	return unfit
}

// Write exports to w and returns what has to be logged about it. When ctx ends
// or w fails it stops; what was written until then is not complete.
func (x Exporter) Write(ctx context.Context, w io.Writer) (Disclosure, error) {
	write := map[Format]func(context.Context, *bufio.Writer, *Disclosure) error{
		JSONL: x.jsonl, CSV: x.csv, OCSF: x.ocsf,
	}[x.Format]
	if write == nil {
		return Disclosure{}, fmt.Errorf("exporting: unknown format %q", x.Format)
	}
	tally := NewTally(w)
	buffer := bufio.NewWriterSize(tally, 64<<10)
	d := Disclosure{ID: x.Disclosure, What: "export as " + string(x.Format), Filter: x.Filter.String()}
	err := write(ctx, buffer, &d)
	if err == nil {
		err = buffer.Flush()
	}
	d.Written = tally.Written(d.Written.Rows)
	if err != nil {
		return d, fmt.Errorf("exporting as %s: %w", x.Format, err)
	}
	return d, nil
}

// jsonl writes the exact bodies. Nothing is added, so that the file of a whole
// log has the log's own hash.
func (x Exporter) jsonl(ctx context.Context, w *bufio.Writer, d *Disclosure) error {
	for batch, err := range x.Snapshot.bodies(ctx, x.Filter) {
		if err != nil {
			return err
		}
		for _, r := range batch {
			if bytes.IndexByte(r.Body, '\n') >= 0 {
				return fmt.Errorf("%w: the body of event %d has more than one line; run `rotator audit verify`", ErrBody, r.Seq)
			}
			_, _ = w.Write(r.Body) // a bufio.Writer keeps its error
			if err := w.WriteByte('\n'); err != nil {
				return err //nolint:wrapcheck // wrapped by Write
			}
			d.Written.Rows++
		}
		x.passed(batch)
	}
	return nil
}

// passed tells how far the export has come.
func (x Exporter) passed(batch []Record) {
	if x.Progress != nil && len(batch) > 0 {
		x.Progress(batch[len(batch)-1].Seq+1, x.Snapshot.size)
	}
}
