package evidence

import (
	"archive/zip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteCSV writes the report as a ZIP archive, because its tables have
// different columns: <table>.csv for each, tables.csv that lists them with
// their SQL, parameters and row counts, header.csv, criteria.csv, and
// checkpoint.txt with the signed note verbatim. The files are RFC 4180 with a
// header row; a cell that a spreadsheet would read as a formula begins with an
// apostrophe.
func (p *Pack) WriteCSV(w io.Writer) error {
	out := zip.NewWriter(w)
	err := p.writeFiles(out)
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("writing the report as CSV: %w", err)
	}
	return nil
}

func (p *Pack) writeFiles(out *zip.Writer) error {
	if err := p.csv(out, "header", []string{"name", "value"}, p.headerRows()); err != nil {
		return err
	}
	if c := p.Header.Checkpoint; c != nil {
		f, err := p.file(out, "checkpoint.txt")
		if err != nil {
			return err
		}
		if _, err := io.WriteString(f, c.Note); err != nil {
			return err //nolint:wrapcheck // WriteCSV wraps it
		}
	}
	if err := p.csv(out, "criteria", []string{"framework", "id", "evidence", "tables"}, p.criteriaRows()); err != nil {
		return err
	}
	list := []string{"id", "file", "section", "title", "row_count", "exceptions", "about", "parameters", "sql"}
	if err := p.csv(out, "tables", list, p.tableRows()); err != nil {
		return err
	}
	for _, t := range p.Tables {
		if err := p.tableCSV(out, t); err != nil {
			return err
		}
	}
	return nil
}

// file begins a file of the archive. All carry the time of the report.
func (p *Pack) file(out *zip.Writer, name string) (io.Writer, error) {
	return out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: p.Header.GeneratedAt}) //nolint:wrapcheck // WriteCSV wraps it
}

// csv writes a small table.
func (p *Pack) csv(out *zip.Writer, name string, header []string, rows [][]string) error {
	f, err := p.file(out, name+".csv")
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	w.UseCRLF = true
	for _, row := range append([][]string{header}, rows...) {
		for i := range row {
			row[i] = defuse(row[i])
		}
		if err := w.Write(row); err != nil {
			return err //nolint:wrapcheck // WriteCSV wraps it
		}
	}
	w.Flush()
	return w.Error() //nolint:wrapcheck // WriteCSV wraps it
}

// tableCSV streams one table.
func (p *Pack) tableCSV(out *zip.Writer, t Table) error {
	f, err := p.file(out, t.ID+".csv")
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	w.UseCRLF = true
	line := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		line[i] = c.Name
	}
	if err := w.Write(line); err != nil {
		return err //nolint:wrapcheck // WriteCSV wraps it
	}
	for row, err := range p.Rows(t) {
		if err != nil {
			return err
		}
		for i, v := range row {
			line[i] = csvCell(v, t.Columns[i].Kind)
		}
		if err := w.Write(line); err != nil {
			return err //nolint:wrapcheck // WriteCSV wraps it
		}
	}
	w.Flush()
	return w.Error() //nolint:wrapcheck // WriteCSV wraps it
}

// csvCell is a value as text; numbers stay numbers, also negative ones.
func csvCell(v any, k Kind) string {
	switch {
	case v == nil:
		return ""
	case k == Text:
		return defuse(fmt.Sprint(v))
	}
	return fmt.Sprint(v)
}

// defuse keeps spreadsheets from reading remote text as a formula.
func defuse(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r\n") {
		return "'" + text
	}
	return text
}

// headerRows are the header's fields under the names that JSON gives them,
// those of nested objects joined by a dot.
func (p *Pack) headerRows() [][]string {
	rows := [][]string{{"format", Format}, {"version", strconv.Itoa(Version)}}
	for _, f := range p.Header.fields() {
		rows = append(rows, []string{f.name, f.value})
	}
	return rows
}

func (p *Pack) criteriaRows() [][]string {
	var rows [][]string
	for _, c := range p.Criteria {
		rows = append(rows, []string{c.Framework, c.ID, c.Evidence, strings.Join(c.Tables, " ")})
	}
	return rows
}

func (p *Pack) tableRows() [][]string {
	var rows [][]string
	for _, t := range p.Tables {
		rows = append(rows, []string{
			t.ID, t.ID + ".csv", t.Section, t.Title, strconv.FormatInt(t.RowCount, 10), strconv.FormatInt(t.Exceptions, 10), t.About,
			parametersText(t), t.SQL,
		})
	}
	return rows
}

// parametersText is a table's parameters as one line of JSON.
func parametersText(t Table) string {
	text, err := json.Marshal(t.Parameters)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
