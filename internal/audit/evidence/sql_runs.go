package evidence

const (
	runSection = "Runs and calls"
	logSection = "The log itself"
)

// runQuestions are about when rotator worked, and what the APIs answered.
func runQuestions() []question {
	return []question{
		{
			id: "runs", section: runSection, title: "Runs by day",
			about: "Runs that were started on each day (UTC) of the period, by what started them, and what the finished ones counted.",
			columns: columns("day", Text, "trigger", Text, "started", Number, "finished", Number, "rotated", Number, "retired", Number,
				"orphans_deleted", Number, "skipped", Number, "failed", Number, "refused", Number),
			sql: `WITH ` + runs + `
SELECT to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, trigger, count(*) AS started, count(finished_at) AS finished,
    sum((counters ->> 'rotated')::bigint)::bigint AS rotated, sum((counters ->> 'retired')::bigint)::bigint AS retired,
    sum((counters ->> 'orphans_deleted')::bigint)::bigint AS orphans_deleted, sum((counters ->> 'skipped')::bigint)::bigint AS skipped,
    sum((counters ->> 'failed')::bigint)::bigint AS failed, sum((counters ->> 'refused')::bigint)::bigint AS refused
FROM run
GROUP BY day, trigger
ORDER BY day, trigger`,
		},
		{
			id: "unfinished_runs", section: runSection, title: "Runs without an end", rows: objects,
			about:   "Runs that were started in the period and of which no end is on record by its end: the process was killed, or lost its database, or was still at work.",
			columns: columns("started_at", Time, "run_id", Text, "trigger", Text, "actor", Text, "host", Text, "build", Text),
			sql: `WITH ` + runs + `
SELECT started_at, run_id, trigger, actor, host, build
FROM run
WHERE finished_at IS NULL
ORDER BY started_at, run_id`,
		},
		{
			id: "schedule_gaps", section: runSection, title: "Gaps in the schedule", rows: objects,
			about: "Stretches of the period in which no scheduled run was started for longer than longest_gap. Runs that something else started meanwhile are counted beside it: " +
				"where a timer calls run-now, all runs are of that kind.",
			columns: columns("gap_from", Time, "gap_to", Time, "length_s", Seconds, "other_runs", Number),
			sql: `WITH start AS (
    SELECT occurred_at FROM audit.event
    WHERE type = 'run.started' AND body ->> 'trigger' = 'schedule' AND occurred_at < :'to'::timestamptz
), bound AS ( -- the last one before the period, or the period's beginning
    SELECT coalesce(max(occurred_at), :'from'::timestamptz) AS occurred_at FROM start WHERE occurred_at < :'from'::timestamptz
    UNION ALL
    SELECT occurred_at FROM start WHERE occurred_at >= :'from'::timestamptz
), gap AS (
    SELECT occurred_at AS gap_from, lead(occurred_at, 1, :'to'::timestamptz) OVER (ORDER BY occurred_at) AS gap_to FROM bound
)
SELECT g.gap_from, g.gap_to, extract(epoch FROM g.gap_to - g.gap_from)::bigint AS length_s,
    (SELECT count(*) FROM audit.event e WHERE e.type = 'run.started' AND e.occurred_at > g.gap_from AND e.occurred_at < g.gap_to) AS other_runs
FROM gap g
WHERE g.gap_to - g.gap_from > :'longest_gap'::interval
ORDER BY g.gap_from`,
		},
		{
			id: "configurations", section: runSection, title: "Programs and configurations in use",
			about: "Which build ran where, under which configuration (a fingerprint of all settings that are not secret), as which database and Vault login. " +
				"Another fingerprint means that a setting was changed.",
			columns: columns("first_run_at", Time, "last_run_at", Time, "runs", Number, "host", Text, "build", Text, "config_sha256", Text, "policy", Text, "db_user", Text, "vault_entity", Text),
			sql: `SELECT min(occurred_at) AS first_run_at, max(occurred_at) AS last_run_at, count(*) AS runs,
    body ->> 'host' AS host, body ->> 'build' AS build, body ->> 'config_sha256' AS config_sha256, body ->> 'policy' AS policy,
    body ->> 'db_user' AS db_user, body ->> 'vault_entity' AS vault_entity
FROM audit.event
WHERE type = 'run.started' AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
GROUP BY 4, 5, 6, 7, 8, 9
ORDER BY first_run_at, host, config_sha256`,
		},
		{
			id: "api_status_codes", section: runSection, title: "API status codes by operation",
			about:   "Every answer of Sinch and Vault in the period, retries too, counted by operation, HTTP status and outcome. Without a status no complete answer came (unknown).",
			columns: columns("service", Text, "operation", Text, "http_status", Number, "outcome", Text, "calls", Number, "first_at", Time, "last_at", Time),
			sql: `SELECT CASE WHEN operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END AS service, operation, http_status, outcome,
    count(*) AS calls, min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM audit.event
WHERE type = 'api.call' AND phase = 'outcome' AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
GROUP BY operation, http_status, outcome
ORDER BY service, operation, http_status NULLS LAST, outcome`,
		},
	}
}

// runs: the runs that were started in the period, with how they ended.
const runs = `run AS (
    SELECT s.occurred_at AS started_at, s.run_id::text AS run_id, s.body ->> 'trigger' AS trigger, s.body ->> 'actor' AS actor,
        s.body ->> 'host' AS host, s.body ->> 'build' AS build, f.occurred_at AS finished_at, f.body -> 'counters' AS counters
    FROM audit.event s
    LEFT JOIN audit.event f ON f.run_id = s.run_id AND f.type = 'run.finished'
        AND f.occurred_at >= :'from'::timestamptz AND f.occurred_at < :'to'::timestamptz
    WHERE s.type = 'run.started' AND s.occurred_at >= :'from'::timestamptz AND s.occurred_at < :'to'::timestamptz
)`

// logQuestions are about the log: what was done to it, and what of it nothing
// outside the database vouches for.
func logQuestions() []question {
	return []question{
		{
			id: "log_events", section: logSection, title: "What was done to the log", rows: someWrong,
			about: "Rebases after a restored or failed-over database, outcomes that were kept on disk while the database was away and came home later, dropped partitions, " +
				"and exports. All but exports are exceptions: there the log's history has a seam that `rotator audit verify` explains.",
			columns: columns("occurred_at", Time, "seq", Number, "type", Text, "exception", Bool, "actor", Text, "reason", Text, "epoch", Number, "counters", Text, "error", Text),
			sql: `SELECT occurred_at, seq, type, type <> 'audit.exported' AS exception, body ->> 'actor' AS actor, body ->> 'reason' AS reason,
    (body ->> 'epoch')::bigint AS epoch, body ->> 'counters' AS counters, body ->> 'error' AS error
FROM audit.event
WHERE type IN ('audit.rebased', 'audit.spill_replayed', 'audit.partition_dropped', 'audit.exported')
    AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
ORDER BY seq`,
		},
		{
			id: "unanchored", section: logSection, title: "Events that no checkpoint covers", rows: objects,
			about: "Events of the period from number anchored on, which is the size of the newest checkpoint outside the database: nothing but the database vouches for them. " +
				"Where there is no checkpoint, that is all of them.",
			columns: columns("events", Number, "first_seq", Number, "last_seq", Number, "first_at", Time, "last_at", Time, "calls", Number, "other_events", Number),
			sql: `SELECT count(*) AS events, min(seq) AS first_seq, max(seq) AS last_seq, min(occurred_at) AS first_at, max(occurred_at) AS last_at,
    count(*) FILTER (WHERE type = 'api.call') AS calls, count(*) FILTER (WHERE type <> 'api.call') AS other_events
FROM audit.event
WHERE seq >= :'anchored'::bigint AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
HAVING count(*) > 0`,
		},
		{
			id: "lost_leases", section: logSection, title: "Work that another process had taken over", rows: informs,
			about:   "Times at which a process found that its lease of a project had run out or was another's. Its writes were refused; that is the control that keeps two processes apart.",
			columns: columns("occurred_at", Time, "project_id", Text, "reason", Text, "actor", Text, "host", Text, "run_id", Text),
			sql: `SELECT occurred_at, project_id, body ->> 'reason' AS reason, body ->> 'actor' AS actor, body ->> 'host' AS host, run_id::text AS run_id
FROM audit.event
WHERE type = 'lease.lost' AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
ORDER BY seq`,
		},
	}
}

// questions are all tables of a report, in their order.
func questions() []question {
	var all []question
	for _, some := range [][]question{
		populationQuestions(), rotationQuestions(), ageQuestions(), failureQuestions(), decisionQuestions(),
		runQuestions(), logQuestions(),
	} {
		all = append(all, some...)
	}
	return all
}
