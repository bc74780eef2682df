package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// errLine marks a file that is no export of a log.
var errLine = errors.New("not an export of the audit log")

// lines verifies an export.
func (v *verification) lines(ctx context.Context, from io.Reader) error {
	v.export = true
	if err := v.checkFrom(); err != nil {
		return err
	}
	err := eachLine(ctx, from, func(line []byte) error {
		v.row(&row{seq: v.next, body: line}, 0)
		return nil
	})
	if err != nil {
		return err
	}
	v.finish(nil)
	v.tellCalls(nil, false)
	return v.findLateLines(ctx, from)
}

// eachLine calls a function with each line of a file. The line is good until
// it returns.
func eachLine(ctx context.Context, from io.Reader, do func(line []byte) error) error {
	r := bufio.NewReaderSize(from, 4*BodyLimit)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%w: line %d has more than %d bytes", errLine, n, BodyLimit)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("reading the export: %w", err)
		case bytes.HasSuffix(line, []byte("\r\n")):
			return fmt.Errorf("%w: the ends of its lines were converted; events are hashed byte for byte, so export it again", errLine)
		}
		if err := do(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
		if n%progressEvery == 0 && ctx.Err() != nil {
			return fmt.Errorf("reading the export: %w", context.Cause(ctx))
		}
	}
}

// findLateLines looks for the ids that came late in a second pass, where the
// export can be read twice.
func (v *verification) findLateLines(ctx context.Context, from io.Reader) error {
	if len(v.ids.late) == 0 {
		return nil
	}
	again, ok := from.(io.Seeker)
	if ok {
		_, err := again.Seek(0, io.SeekStart)
		ok = err == nil
	}
	if !ok || v.ids.more {
		v.note("%d events or more came late, and whether one of them stands in the log twice was not looked for: the export comes through a pipe, or they are too many", len(v.ids.late))
		return nil
	}
	seq := v.start
	return eachLine(ctx, from, func(line []byte) error {
		var c content
		if c.read(line) == nil {
			if id, ok := parseUUID(c[fieldID]); ok {
				v.countLate(id, seq)
			}
		}
		seq++
		return nil
	})
}

func (v *verification) countLate(id [16]byte, seq int64) {
	n, late := v.ids.late[id]
	if !late {
		return
	}
	if v.ids.late[id] = n + 1; n > 0 {
		v.find(between(seq, seq, FoundExtra, "event %d has the id of an earlier one: one event stands in the log twice", seq))
	}
}
