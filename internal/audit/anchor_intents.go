package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// openWrites finds the intents, from a sequence number on, to write documents
// of our own, of which nobody knows how they ended. They belong to no project.
const openWrites = `select i.seq, i.body::text from audit.event i
	where i.seq >= $1 and i.phase = 'intent' and i.operation = 'vault.write' and i.project_id is null
		and starts_with(i.body ->> 'vault_path', $2)
		and not exists (select from audit.event o where o.call_id = i.call_id and o.phase <> 'intent' and audit.mutates(o.operation))
	order by i.seq`

// Settle resolves the intents to write checkpoints and keys that a crash left
// without an outcome, from a sequence number on, by looking whether they are
// there. It returns the number to go on from next time. No lease tells whether
// another process is just about to write: its outcome then follows, and counts.
func (a *Anchors) Settle(ctx context.Context, since int64) (next int64, err error) {
	pool := a.cfg.Log.cfg.Pool
	head, err := queryHead(ctx, pool)
	if err != nil {
		return since, err
	}
	rows, err := pool.Query(ctx, openWrites, since, a.cfg.Prefix+"/")
	if err != nil {
		return since, fmt.Errorf("looking for open intents of checkpoints: %w", err)
	}
	open, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) { return scan(row) })
	if err != nil {
		return since, fmt.Errorf("looking for open intents of checkpoints: %w", err)
	}
	for _, intent := range open {
		if err := a.settle(ctx, intent.Event); err != nil {
			return since, err
		}
	}
	return head.size, nil
}

// settle resolves one intent.
func (a *Anchors) settle(ctx context.Context, intent Event) error {
	_, err := a.cfg.Store.Read(ctx, strings.TrimPrefix(intent.VaultPath, a.cfg.Prefix+"/"), 0)
	e := intent
	e.ID, e.TimeUS, e.Phase, e.Run = "", 0, Resolved, ""
	switch {
	case err == nil:
		e.Outcome, e.Reason = OK, "applied: the document is there"
	case errors.Is(err, ErrAbsent):
		e.Outcome, e.Reason = Unknown, "not applied yet, though it may still arrive: there is no document"
	default:
		return fmt.Errorf("asking how the write of %s ended: %w", intent.VaultPath, err)
	}
	if err := a.cfg.Log.Append(ctx, e); err != nil {
		return fmt.Errorf("resolving the write of %s: %w", intent.VaultPath, err)
	}
	return nil
}
