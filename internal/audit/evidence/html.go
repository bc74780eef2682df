package evidence

import (
	"bufio"
	_ "embed" // the page and its style
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var pageText string

//go:embed report.css
var styleText string

// page escapes whatever comes from the log by where it stands.
var page = template.Must(template.New("report").Parse(pageText))

// WriteHTML writes the report as one HTML file that needs nothing else: no
// script, no request to anywhere. Rows are streamed.
func (p *Pack) WriteHTML(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	v := newPageView(p)
	err := page.Execute(out, v)
	if err == nil {
		err = v.err
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing the report as HTML: %w", err)
	}
	return nil
}

// pageView is what the template sees.
type pageView struct {
	Header    Header
	Period    string
	Generated string
	Style     template.CSS
	Fields    []fieldView
	Criteria  []criterionView
	Sections  []sectionView

	err error // of reading rows back
}

type fieldView struct{ Label, Value string }

type sectionView struct {
	Anchor, Name string
	Tables       []tableView
}

// tableView is a table; Rows may be ranged over once or more.
type tableView struct {
	Table

	Count string // in words
	Heads []cellView
	Rows  iter.Seq[rowView]
}

type rowView struct {
	Exception bool
	Cells     []cellView
}

type cellView struct {
	Kind  Kind
	Class string
	Null  bool
	Exact string
	Shown string
}

type criterionView struct {
	Criterion

	Links []Table
}

func newPageView(p *Pack) *pageView {
	v := &pageView{
		Header: p.Header, Period: shownTime(p.Header.From) + " to " + shownTime(p.Header.To),
		Generated: shownTime(p.Header.GeneratedAt),
		Style:     template.CSS(styleText), //nolint:gosec // our own file
	}
	for _, f := range p.Header.fields() {
		if f.label != "Warning" { // they stand at the top
			v.Fields = append(v.Fields, fieldView{f.label, f.value})
		}
	}
	for _, c := range p.Criteria {
		cv := criterionView{Criterion: c}
		for _, id := range c.Tables {
			if t, ok := p.Table(id); ok {
				cv.Links = append(cv.Links, t)
			}
		}
		v.Criteria = append(v.Criteria, cv)
	}
	for i, name := range p.Sections() {
		s := sectionView{Anchor: "section-" + strconv.Itoa(i+1), Name: name}
		for _, t := range p.Tables {
			if t.Section == name {
				s.Tables = append(s.Tables, v.table(p, t))
			}
		}
		v.Sections = append(v.Sections, s)
	}
	return v
}

func (v *pageView) table(p *Pack, t Table) tableView {
	tv := tableView{Table: t, Count: countText(t)}
	exception := -1
	for i, c := range t.Columns {
		tv.Heads = append(tv.Heads, cellView{Kind: c.Kind, Class: class(c), Shown: headText(c)})
		if c.Name == "exception" {
			exception = i
		}
	}
	tv.Rows = func(yield func(rowView) bool) {
		for row, err := range p.Rows(t) {
			if err != nil {
				v.err = err
				return
			}
			r := rowView{Exception: exception >= 0 && row[exception] == true, Cells: make([]cellView, len(row))}
			for i, cell := range row {
				r.Cells[i] = newCellView(t.Columns[i], cell)
			}
			if !yield(r) {
				return
			}
		}
	}
	return tv
}

func newCellView(column Column, v any) cellView {
	k := column.Kind
	c := cellView{Kind: k, Class: class(column)}
	switch v := v.(type) {
	case nil:
		c.Null = true
	case bool:
		c.Shown = map[bool]string{true: "yes", false: "no"}[v]
	case json.Number:
		c.Exact, c.Shown = v.String(), v.String()
		if n, err := v.Int64(); err == nil && k == Seconds {
			c.Shown = lengthText(n)
		}
	case string:
		c.Exact, c.Shown = v, v
		if t, err := time.Parse(timeForm, v); err == nil && k == Time {
			c.Shown = shownTime(t)
		}
	}
	return c
}

// class is what the style knows a column by: its kind, or that it holds
// sentences.
func class(c Column) string {
	if slices.Contains([]string{"reason", "detail", "error", "on_record", "policy", "policy_before", "resume_reason", "counters"}, c.Name) {
		return "prose"
	}
	return string(c.Kind)
}

// shownTime leaves out what a reader of a table seldom needs; the exact time
// stands in the markup.
func shownTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

// lengthText is a length of time in its two largest units.
func lengthText(seconds int64) string {
	sign := ""
	if seconds < 0 {
		sign, seconds = "−", -seconds
	}
	for _, u := range []struct {
		name, next string
		size, step int64
	}{{"d", "h", 86400, 3600}, {"h", "min", 3600, 60}, {"min", "s", 60, 1}} {
		if seconds >= u.size {
			text := sign + strconv.FormatInt(seconds/u.size, 10) + " " + u.name
			if rest := seconds % u.size / u.step; rest > 0 {
				text += " " + strconv.FormatInt(rest, 10) + " " + u.next
			}
			return text
		}
	}
	return sign + strconv.FormatInt(seconds, 10) + " s"
}

// headText is a column's name for people: its unit stands in its cells.
func headText(c Column) string {
	name := c.Name
	if c.Kind == Seconds {
		name = strings.TrimSuffix(name, "_s")
	}
	return strings.ReplaceAll(name, "_", " ")
}

// countText says how many rows a table has, and how many stand out.
func countText(t Table) string {
	rows := strconv.FormatInt(t.RowCount, 10) + " rows"
	if t.RowCount == 1 {
		rows = "1 row"
	}
	switch {
	case t.Exceptions == 0:
		return rows
	case t.RowCount == 1:
		return rows + ", an exception"
	case t.Exceptions == t.RowCount:
		return rows + ", all exceptions"
	case t.Exceptions == 1:
		return rows + ", 1 exception"
	}
	return rows + ", " + strconv.FormatInt(t.Exceptions, 10) + " exceptions"
}

// Statement is a table's SQL as psql takes it, its parameters set before it.
func (t Table) Statement() string {
	var b strings.Builder
	for _, p := range t.Parameters {
		fmt.Fprintf(&b, "\\set %s '%s'\n", p.Name, p.Value)
	}
	return b.String() + t.SQL + ";\n"
}
