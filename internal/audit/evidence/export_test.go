package evidence

import (
	"fmt"
)

// Synthetic returns a report with one table of so many rows, for tests.
func Synthetic(dir string, rows int) (*Pack, error) {
	s, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	t := Table{
		ID: "synthetic", Section: "Synthetic", Title: "Synthetic", RowCount: int64(rows),
		Columns: columns("key_id", Text, "created_at", Time, "age_s", Seconds, "exception", Bool, "reason", Text),
	}
	for i := range rows {
		if err := s.write([]any{fmt.Sprint("key-", i), "2026-01-01T00:00:00.000000Z", int64(i), i%2 == 0, "older than its limit"}); err != nil {
			return nil, err
		}
	}
	t.segment.to = s.size
	return &Pack{Tables: []Table{t}, spool: s}, s.out.Flush()
}

// CutShort damages the spool, as a disk does, for tests.
func (p *Pack) CutShort(bytes int64) error { return p.spool.file.Truncate(p.spool.size - bytes) }

// Cell is cell.
func Cell(v any) (any, error) { return cell(v) }

// Bind is parameters.bind.
func Bind(values map[string]string, sql string) (string, []any, []Parameter, error) {
	return parameters(values).bind(sql)
}
