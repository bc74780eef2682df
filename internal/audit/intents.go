package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// openIntents finds a project's intents from a sequence number on that have
// neither outcome nor resolution.
const openIntents = `select i.seq, i.body::text from audit.event i
	where i.project_id = $1 and i.seq >= $2 and i.phase = 'intent'
		and not exists (select from audit.event o where o.call_id = i.call_id and o.phase <> 'intent'
			and audit.mutates(o.operation))
	order by i.seq`

// OpenIntents returns a project's intents since a sequence number of which
// nobody knows how they ended, and the log's size before it looked: once they
// are resolved, no older one is open. Ask under the project's lease, or a
// call that is under way is taken for one that was lost.
func (l *Log) OpenIntents(ctx context.Context, project string, since int64) (open []Record, size int64, err error) {
	if err := l.cfg.Pool.QueryRow(ctx, `select size from audit.head`).Scan(&size); err != nil {
		return nil, 0, fmt.Errorf("reading the log's size: %w", err)
	}
	rows, err := l.cfg.Pool.Query(ctx, openIntents, project, since)
	if err != nil {
		return nil, 0, fmt.Errorf("looking for open intents: %w", err)
	}
	open, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) { return scan(row) })
	if err != nil {
		return nil, 0, fmt.Errorf("looking for open intents: %w", err)
	}
	return open, size, nil
}
