-- What stands in the way of work now: so that people are told of it once, by
-- whichever replica comes first, and once more when it is over.

-- +goose Up
CREATE TABLE rotator.problem (
    project_id text NOT NULL,
    credential text NOT NULL,
    topic      text NOT NULL CHECK (topic IN ('work', 'list', 'age')),
    kind       text NOT NULL CHECK (kind IN ('failed', 'refused', 'overdue')),
    error      text NOT NULL,
    since      timestamptz NOT NULL DEFAULT now(),
    told_at    timestamptz,
    gone_at    timestamptz,
    PRIMARY KEY (project_id, credential, topic)
);
COMMENT ON COLUMN rotator.problem.credential IS 'empty where it is the whole project''s';
COMMENT ON COLUMN rotator.problem.topic IS 'who finds out: work on a project, the list of projects, the age of keys';
COMMENT ON COLUMN rotator.problem.told_at IS 'when a webhook was last told; null while none was';
COMMENT ON COLUMN rotator.problem.gone_at IS 'when it was over; the row goes once that is told';

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'rotator''s schema is only migrated up'; END $$;
-- +goose StatementEnd
