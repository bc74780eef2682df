package audit

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// reportColumns is the header of the credential report. It is stable: columns
// may be added before the last, none is renamed, moved or removed.
var reportColumns = []string{
	"project_id", "credential", "key_id", "display_name", "state",
	"created_at", "published_at", "superseded_at", "deleted_at", "replaced_by",
	"age_days", "max_age_days", "overdue",
	"rotation_id", "trigger", "actor", "vault_path", "export_event",
}

// reportKeys is the life of each key and what became of it. It reads the views
// alone. The limit that counts is the one that was on record when the key
// went, or the newest; a project without one of its own has the general one.
const reportKeys = `with recorded as (
	select seq, occurred_at, project_id, (body ->> 'max_age_s')::bigint as max_age_s
	from audit.events
	where type in ('inventory.snapshot', 'policy.changed') and body ->> 'max_age_s' is not null
		and ($3 = '' or project_id is null or project_id = $3)
), changed as (
	select *, lag(max_age_s) over (partition by project_id order by seq) is distinct from max_age_s as new from recorded
), policy as (
	select project_id, max_age_s, occurred_at as since, lead(occurred_at) over (partition by project_id order by seq) as until
	from changed where new
)
select coalesce(k.project_id, '') as project_id, coalesce(k.credential, '') as credential, k.key_id, coalesce(k.display_name, '') as display_name,
	case when k.deleted_at is not null then 'deleted' when o.key_id is null then 'missing'
		when not o.in_scope then 'unmanaged' else coalesce(o.state, 'unknown') end as state,
	k.created_at, k.published_at, k.superseded_at, k.deleted_at, coalesce(k.replaced_by, '') as replaced_by,
	coalesce(p.max_age_s, g.max_age_s) as max_age_s,
	coalesce(k.rotation_id, '') as rotation_id, coalesce(k.trigger, '') as trigger, coalesce(k.actor, '') as actor,
	coalesce(v.vault_path, '') as vault_path
from audit.key_history k
left join audit.keys_on(now()) o on o.project_id = k.project_id and o.key_id = k.key_id
left join policy p on p.project_id = k.project_id
	and p.since <= coalesce(k.deleted_at, now()) and (p.until is null or p.until > coalesce(k.deleted_at, now()))
left join policy g on g.project_id is null
	and g.since <= coalesce(k.deleted_at, now()) and (g.until is null or g.until > coalesce(k.deleted_at, now()))
left join lateral (
	select e.body ->> 'vault_path' as vault_path from audit.events e
	where e.key_id = k.key_id and e.project_id = k.project_id and e.type = 'rotation.published' order by e.seq desc limit 1
) v on true
where (k.deleted_at is null or k.deleted_at >= $1) and (k.created_at is null or k.created_at < $2)
	and ($3 = '' or k.project_id = $3) and ($4 = '' or k.credential = $4) and ($5 = '' or k.key_id = $5)
	and ($6 = '' or k.rotation_id = $6) and ($7 = '' or k.actor = $7)
order by k.project_id, k.credential, k.created_at, k.key_id`

// reportKey is a row of reportKeys. What is not known is empty.
type reportKey struct {
	ProjectID    string
	Credential   string
	KeyID        string
	DisplayName  string
	State        string
	CreatedAt    *time.Time
	PublishedAt  *time.Time
	SupersededAt *time.Time
	DeletedAt    *time.Time
	ReplacedBy   string
	MaxAgeS      *int64
	RotationID   string
	Trigger      string
	Actor        string
	VaultPath    string
}

// notLogged stands where the id of the export's event would, had it one.
const notLogged = "not logged"

// csv writes the credential report: RFC 4180, a row for each key that existed
// at some time of the filter's period.
func (x Exporter) csv(ctx context.Context, w *bufio.Writer, d *Disclosure) error {
	if unfit := CSV.Unfit(x.Filter); len(unfit) > 0 {
		return fmt.Errorf("%w: a report of keys knows no %s", ErrFilter, strings.Join(unfit, ", "))
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(reportColumns); err != nil {
		return err //nolint:wrapcheck // wrapped by Write
	}
	f, until := x.Filter, x.Filter.Until
	if until.IsZero() {
		until = x.Snapshot.at.Add(100 * 365 * 24 * time.Hour) // a clock that runs ahead hides no key
	}
	args := []any{f.Since, until, f.Project, f.Credential, f.Key, f.Rotation, f.Actor}
	for batch, err := range cursor(ctx, x.Snapshot.tx, reportKeys, args, pgx.RowToStructByName[reportKey]) {
		if err != nil {
			return fmt.Errorf("looking for keys: %w", err)
		}
		for _, k := range batch {
			if err := out.Write(k.cells(x.Snapshot.at, cmp.Or(x.Disclosure, notLogged))); err != nil {
				return err //nolint:wrapcheck // wrapped by Write
			}
		}
		d.Written.Rows += int64(len(batch))
		if x.Progress != nil {
			x.Progress(d.Written.Rows, 0)
		}
	}
	out.Flush()
	return out.Error() //nolint:wrapcheck // wrapped by Write
}

// cells are the row's, in the order of reportColumns.
func (k reportKey) cells(now time.Time, event string) []string {
	age, limit, overdue := k.ages(now)
	return []string{
		defused(k.ProjectID), defused(k.Credential), defused(k.KeyID), defused(k.DisplayName), defused(k.State),
		stamp(k.CreatedAt), stamp(k.PublishedAt), stamp(k.SupersededAt), stamp(k.DeletedAt), defused(k.ReplacedBy),
		age, limit, overdue,
		defused(k.RotationID), defused(k.Trigger), defused(k.Actor), defused(k.VaultPath), event,
	}
}

// ages are the key's age when it was deleted, or now; its limit; and whether
// it is, or was, beyond it. Where no limit holds the last two are empty; of a
// key that went missing nobody knows how old it became.
func (k reportKey) ages(now time.Time) (age, limit, overdue string) {
	known := k.CreatedAt != nil && k.State != "missing"
	var seconds float64
	if known {
		if k.DeletedAt != nil {
			now = *k.DeletedAt
		}
		seconds = max(now.Sub(*k.CreatedAt).Seconds(), 0) // clocks may disagree
		age = days(seconds)
	}
	if k.MaxAgeS == nil || k.State == "unmanaged" {
		return age, "", ""
	}
	limit = days(float64(*k.MaxAgeS))
	if known {
		overdue = strconv.FormatBool(seconds > float64(*k.MaxAgeS))
	}
	return age, limit, overdue
}

// days are seconds as days, down to a hundredth, without trailing zeros.
func days(seconds float64) string {
	return strconv.FormatFloat(math.Floor(seconds/864)/100, 'f', -1, 64)
}

// stamp is a time as RFC 3339 in UTC, empty where there is none.
func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return instant(*t)
}

// defused keeps spreadsheets from reading remote text as a formula.
func defused(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r\n") {
		return "'" + text
	}
	return text
}
