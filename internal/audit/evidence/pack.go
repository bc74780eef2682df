package evidence

import (
	"iter"
	"slices"
	"time"
)

// Format and Version name the shape of a report's JSON. A version adds fields,
// tables and columns at most; none is renamed or removed within one.
const (
	Format  = "rotator-audit-report"
	Version = 1
)

// Pack is the evidence of a period. Close it.
type Pack struct {
	Header   Header
	Criteria []Criterion
	Tables   []Table

	spool *spool
}

// Close removes the rows from the disk.
func (p *Pack) Close() error { return p.spool.close() }

// Header says what the report is about and how far it can be relied on.
type Header struct {
	From        time.Time `json:"from"`         // the period's first moment
	To          time.Time `json:"to"`           // the first moment after it
	GeneratedAt time.Time `json:"generated_at"` // by the database's clock
	MadeBy      Maker     `json:"made_by"`
	Log         Log       `json:"log"`
	// Checkpoint is the newest one outside the database; null where there
	// is none, for the reason that NoCheckpoint gives.
	Checkpoint   *Checkpoint `json:"checkpoint"`
	NoCheckpoint string      `json:"no_checkpoint,omitempty"`
	// Verification is null where the log was not verified for this report.
	Verification *Verification `json:"verification"`
	// Logged says whether the making of the report is in the log itself.
	Logged string `json:"logged"`
	// Warnings are what a reader must know before relying on the tables.
	Warnings []string `json:"warnings"`
}

// Maker is who made the report. Actor and host are claims; the database role
// is what the server says.
type Maker struct {
	Actor        string `json:"actor"`
	Host         string `json:"host"`
	Build        string `json:"build"`
	DatabaseRole string `json:"database_role"`
	Database     string `json:"database"`
	Server       string `json:"server"` // version of Postgres
}

// Log is the audit log at the moment that all tables show.
type Log struct {
	Origin   string     `json:"origin"`
	Size     int64      `json:"size"` // events
	Root     string     `json:"root"` // of the Merkle tree over them, base64
	FirstSeq *int64     `json:"first_seq"`
	FirstAt  *time.Time `json:"first_at"`
	LastAt   *time.Time `json:"last_at"`
}

// Checkpoint is a signed statement of the log's size and root, kept outside
// the database.
type Checkpoint struct {
	Source string     `json:"source"` // where it was read
	Origin string     `json:"origin"`
	Epoch  int        `json:"epoch"`
	Size   int64      `json:"size"`
	Root   string     `json:"root"` // base64
	At     *time.Time `json:"anchored_at"`
	Note   string     `json:"note"` // verbatim, a signed note
	// Keys are the verifier keys that it could be checked with; Pinned says
	// whether trust in them comes from outside the archive.
	Keys   []string `json:"verifier_keys"`
	Pinned bool     `json:"pinned"`
	// Covers says whether every event of the period is among its events.
	Covers bool `json:"covers_period"`
}

// Verification is what verifying the log for this report found, right after
// its tables were collected.
type Verification struct {
	At      time.Time `json:"at"`
	Verdict string    `json:"verdict"` // intact, tampered, not checked, not provable
	// ExitCode is that of `rotator audit verify`: 0, 1, 2, 3 for the four.
	ExitCode    int      `json:"exit_code"`
	Size        int64    `json:"size"`        // events in the log by then
	Checkpoints int      `json:"checkpoints"` // that it was held against
	Said        []string `json:"said"`        // findings, what was not proven or checked, warnings
}

// Table is one answer.
type Table struct {
	ID         string      `json:"id"`
	Section    string      `json:"section"`
	Title      string      `json:"title"`
	About      string      `json:"about"`
	Columns    []Column    `json:"columns"`
	SQL        string      `json:"sql"` // as psql runs it, once the parameters are set
	Parameters []Parameter `json:"parameters"`
	RowCount   int64       `json:"row_count"`
	Exceptions int64       `json:"exceptions"` // rows that a reader should look into

	segment segment
}

// Rows returns a table's rows, all of them or an error at the end. Cells are
// nil, string, json.Number or bool, as their columns' kinds say.
func (p *Pack) Rows(t Table) iter.Seq2[[]any, error] { return p.spool.rows(t.segment, t.RowCount) }

// Table returns the table of an id.
func (p *Pack) Table(id string) (Table, bool) {
	i := slices.IndexFunc(p.Tables, func(t Table) bool { return t.ID == id })
	if i < 0 {
		return Table{}, false
	}
	return p.Tables[i], true
}

// Sections returns the names of the sections in their order.
func (p *Pack) Sections() []string {
	var names []string
	for _, t := range p.Tables {
		if !slices.Contains(names, t.Section) {
			names = append(names, t.Section)
		}
	}
	return names
}
