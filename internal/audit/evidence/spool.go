package evidence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// timeForm is how times are written: RFC 3339 UTC, always with microseconds,
// as exact as the log has them.
const timeForm = "2006-01-02T15:04:05.000000Z"

// spool keeps the rows of all tables in one temporary file, a JSON array a
// line, so that memory does not grow with them.
type spool struct {
	file    *os.File
	out     *bufio.Writer
	size    int64
	removed bool // the file's name, so that it goes away with the process
}

// segment is where a table's rows stand in the spool.
type segment struct{ from, to int64 }

func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, "rotator-report-*")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file for the report's rows: %w", err)
	}
	removed := os.Remove(file.Name()) == nil // not everywhere while it is open
	return &spool{file: file, out: bufio.NewWriterSize(file, 1<<16), removed: removed}, nil
}

// close gives the disk space back.
func (s *spool) close() error {
	err := s.file.Close()
	if !s.removed {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}

// add keeps the rows of one answer and counts them; exception is the place of
// the column that says which rows are exceptions, -1 for none.
func (s *spool) add(rows pgx.Rows, exception int) (seg segment, count, exceptions int64, err error) {
	defer rows.Close()
	seg.from = s.size
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return seg, 0, 0, err //nolint:wrapcheck // the caller names the table
		}
		if exception >= 0 && values[exception] == true {
			exceptions++
		}
		if err := s.write(values); err != nil {
			return seg, 0, 0, err
		}
		count++
	}
	if err := errors.Join(rows.Err(), s.out.Flush()); err != nil {
		return seg, 0, 0, err
	}
	seg.to = s.size
	return seg, count, exceptions, nil
}

func (s *spool) write(values []any) error {
	for i, v := range values {
		cell, err := cell(v)
		if err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
		values[i] = cell
	}
	line, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("keeping a row: %w", err)
	}
	n, err := s.out.Write(append(line, '\n'))
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("keeping a row: %w", err)
	}
	return nil
}

// cell is a value of the database in the form that all renderers use: nil,
// string, int64 or bool.
func cell(v any) (any, error) {
	switch v := v.(type) {
	case nil, string, bool, int64:
		return v, nil
	case int32:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case time.Time:
		return v.UTC().Format(timeForm), nil
	}
	return nil, fmt.Errorf("a value of type %T has no form in a report", v)
}

// errDamaged means that the disk did not keep the rows.
var errDamaged = errors.New("reading the report's rows back")

// rows returns a segment's rows, their cells nil, string, json.Number or bool.
func (s *spool) rows(seg segment, count int64) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		in := json.NewDecoder(bufio.NewReader(io.NewSectionReader(s.file, seg.from, seg.to-seg.from)))
		in.UseNumber()
		for n := range count {
			var row []any
			if err := in.Decode(&row); err != nil {
				yield(nil, fmt.Errorf("%w: row %d of %d: %w", errDamaged, n+1, count, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}
