package audit

import (
	"context"
	"encoding/binary"
	"strconv"
)

// ReadBody returns what verification reads of a body, as Postgres' ->> gives
// it.
func ReadBody(body []byte) ([]*string, error) {
	var c content
	err := c.read(body)
	return c.texts(), err
}

// ScanBody is ReadBody for our own form only.
func ScanBody(body []byte) ([]*string, bool) {
	var c content
	ok := c.scan(body)
	return c.texts(), ok
}

// ParseBody is ReadBody without the scanner.
func ParseBody(body []byte) ([]*string, error) {
	var c content
	err := c.parse(body)
	return c.texts(), err
}

func (c *content) texts() []*string {
	out := make([]*string, len(c))
	for i, text := range c {
		if text != nil {
			out[i] = new(string(text))
		}
	}
	return out
}

// Row is an event as a database would show it.
type Row struct {
	Seq  int64
	Body []byte
	Leaf []byte
	// Text are the query columns in the order of fields, from the status on,
	// nil for NULL; what is not a text is written as in the body.
	Text []*string
	Time int64 // of occurred_at and day, microseconds
}

// RowOf is the row of a body as the log's own function would write it.
func RowOf(seq int64, body []byte) Row {
	texts, _ := ReadBody(body)
	leaf := leafHash(body)
	us, _ := strconv.ParseInt(*texts[fieldTime], 10, 64)
	return Row{seq, body, leaf[:], texts[fieldStatus:fieldVaultPath], us}
}

// columns is the row in Postgres' binary form.
func (r Row) columns() *columns {
	var c columns
	at := sinceY2K(r.Time)
	c[columnTime] = binary.BigEndian.AppendUint64(nil, uint64(at))
	c[columnDay] = binary.BigEndian.AppendUint32(nil, uint32(floorDay(at)))
	for i, text := range r.Text {
		switch column := columnStatus + i; {
		case text == nil:
		case column == columnStatus:
			n, _ := strconv.Atoi(*text)
			c[column] = binary.BigEndian.AppendUint16(nil, uint16(n))
		case column < columnText:
			id, _ := parseUUID([]byte(*text))
			c[column] = id[:]
		default:
			c[column] = []byte(*text)
		}
	}
	return &c
}

// Head is audit.head.
type Head = headRow

// VerifyRows verifies rows and a head as a database would show them.
func VerifyRows(ctx context.Context, cfg VerifyConfig, origin string, rows []Row, head Head) *Verdict {
	v := begin(ctx, cfg)
	defer v.stop()
	v.origin = origin
	for _, r := range rows {
		v.row(&row{seq: r.Seq, body: r.Body, leaf: r.Leaf, cols: r.columns()}, 0)
	}
	v.finish(&head)
	v.tellCalls(nil, true)
	return v.close()
}

// Window makes ids leave the window after so many others, for one
// verification.
func Window(n int) func(*VerifyConfig) { return func(c *VerifyConfig) { c.window = n } }

// What the column strangers is compared with.
var (
	StrangersOf     = strangersOf
	SortedStrangers = sorted
)
