package evidence

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes the report as one JSON object, on lines that a person can
// find things in: format, version, header, criteria, tables. Rows are objects
// with the columns' names. docs/report.md is its description.
func (p *Pack) WriteJSON(w io.Writer) error {
	out := &jsonWriter{w: bufio.NewWriter(w)}
	out.text("{\"format\":")
	out.value(Format)
	out.text(",\"version\":")
	out.value(Version)
	out.text(",\n\"header\":")
	out.value(p.Header)
	out.text(",\n\"criteria\":")
	out.value(p.Criteria)
	out.text(",\n\"tables\":[")
	for i, t := range p.Tables {
		if i > 0 {
			out.text(",")
		}
		out.table(p, t)
	}
	out.text("\n]}\n")
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("writing the report as JSON: %w", out.err)
	}
	return nil
}

// jsonWriter keeps its first error.
type jsonWriter struct {
	w   *bufio.Writer
	err error
}

func (o *jsonWriter) text(s string) {
	if o.err == nil {
		_, o.err = o.w.WriteString(s)
	}
}

func (o *jsonWriter) value(v any) {
	if o.err != nil {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		o.err = err
		return
	}
	_, o.err = o.w.Write(text)
}

// table writes a table's fields and then its rows, which are streamed.
func (o *jsonWriter) table(p *Pack, t Table) {
	o.text("\n")
	fields, err := json.Marshal(t)
	if err != nil {
		o.err = err
		return
	}
	o.text(string(fields[:len(fields)-1]) + ",\"rows\":[")
	separator := "\n"
	for row, err := range p.Rows(t) {
		if err != nil && o.err == nil {
			o.err = err
		}
		if o.err != nil {
			return
		}
		o.text(separator)
		o.row(t, row)
		separator = ",\n"
	}
	o.text("]}")
}

func (o *jsonWriter) row(t Table, row []any) {
	separator := "{"
	for i, c := range t.Columns {
		o.text(separator)
		o.value(c.Name)
		o.text(":")
		o.value(row[i])
		separator = ","
	}
	o.text("}")
}
