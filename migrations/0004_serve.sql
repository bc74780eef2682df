-- What the daemon keeps: the planned time of each scheduled run, whose turn it
-- is to ask Sinch which projects there are, whether all work is stopped, and
-- until when each key may live.

-- +goose Up
ALTER TABLE rotator.run ADD COLUMN tick timestamptz;
COMMENT ON COLUMN rotator.run.tick IS 'when the schedule wanted the run; null for what people ask for';
CREATE INDEX run_tick ON rotator.run (tick DESC) WHERE tick IS NOT NULL;

-- One row a parent project: replicas that begin a scheduled run ask once.
CREATE TABLE rotator.discovery (
    parent_id  text PRIMARY KEY,
    owner      uuid NOT NULL,
    begun_at   timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    done_at    timestamptz
);
COMMENT ON COLUMN rotator.discovery.done_at IS 'when the newest discovery began that came to its end';

-- One row at most: all work is stopped.
CREATE TABLE rotator.pause (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    reason    text NOT NULL,
    actor     text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE rotator.access_key ADD COLUMN deadline timestamptz;
COMMENT ON COLUMN rotator.access_key.deadline IS 'when the key reaches the max age that its project had at the newest look; null out of scope';

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'rotator''s schema is only migrated up'; END $$;
-- +goose StatementEnd
