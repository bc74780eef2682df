package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// openIntents finds projects' intents, each's from a sequence number on, that
// have neither outcome nor resolution. OFFSET 0 makes it look for one project
// after the other: an index has exactly that (migration 0007).
const openIntents = `select i.seq, i.body
	from unnest($1::text[], $2::bigint[]) as p (id, since), lateral (
		select i.seq, i.body::text from audit.event i
		where i.project_id = p.id and i.seq >= p.since and i.phase = 'intent'
			and not exists (select from audit.event o where o.call_id = i.call_id and o.phase <> 'intent'
				and audit.mutates(o.operation))
		offset 0) i
	order by i.seq`

// OpenIntents returns projects' intents, each's since a sequence number, of which
// nobody knows how they ended, and the log's size before it looked: once they
// are resolved, no older one is open. Ask under the projects' leases, or a call
// that is under way is taken for one that was lost.
func (l *Log) OpenIntents(ctx context.Context, since map[string]int64) (open map[string][]Record, size int64, err error) {
	var projects []string
	var seqs []int64
	for project, seq := range since {
		projects, seqs = append(projects, project), append(seqs, seq)
	}
	open = map[string][]Record{}
	var b pgx.Batch
	b.Queue(`select size from audit.head`).QueryRow(func(row pgx.Row) error { return row.Scan(&size) })
	b.Queue(openIntents, projects, seqs).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) { return scan(row) })
		for _, r := range all {
			open[r.Event.Project] = append(open[r.Event.Project], r)
		}
		return err //nolint:wrapcheck // below
	})
	if err := l.cfg.Pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, 0, fmt.Errorf("looking for open intents: %w", err)
	}
	return open, size, nil
}
