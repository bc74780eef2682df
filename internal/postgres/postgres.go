// Package postgres opens the pool that everything shares and applies the
// schema's migrations.
//
// Every connection carries its own limits (waiting for a lock, running a
// statement, idling inside a transaction), so that one frozen process cannot
// stop the others: a replica that hangs while it holds the audit log's head
// is cut off by the server. The limits are session settings, so the URL must
// not lead through a transaction-pooling PgBouncer, which hands the session
// to somebody else between two transactions; a session-pooling one is fine.
package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/secret"
)

// MinVersion is the oldest major version of Postgres that works.
const MinVersion = 15

const (
	defaultName           = "rotator"
	defaultConnectTimeout = 10 * time.Second
)

// Config says how to reach the database.
type Config struct {
	// URL is a connection string as libpq reads it. Required.
	URL secret.Value
	// MaxConns limits the pool; 0 leaves it to pgx: four, or one per CPU.
	MaxConns int
	// ApplicationName is what pg_stat_activity shows. Default "rotator".
	ApplicationName string
	// LockTimeout is how long a statement waits for a lock. Default 5 s.
	LockTimeout time.Duration
	// StatementTimeout is how long a statement runs. Default 30 s.
	StatementTimeout time.Duration
	// IdleInTransactionTimeout is how long an open transaction may wait for
	// its client's next statement. Default 10 s.
	IdleInTransactionTimeout time.Duration
}

// Open connects a pool and proves it with a ping. Errors match
// ErrUnreachable when there is no usable connection, ErrTooOld when the
// server is older than MinVersion, and ErrURL when the URL cannot be read.
// None of them contains the password.
func Open(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL.Reveal())
	if err != nil || cfg.URL.IsZero() { // pgx would take libpq's defaults, a surprise
		return nil, urlError(cfg.URL, err)
	}
	prepare(pc.ConnConfig, cfg.ApplicationName)
	if cfg.MaxConns > 0 {
		pc.MaxConns = int32(min(cfg.MaxConns, 1<<20))
	}
	limits := settings{
		"lock_timeout":                        millis(cfg.LockTimeout, 5*time.Second),
		"statement_timeout":                   millis(cfg.StatementTimeout, 30*time.Second),
		"idle_in_transaction_session_timeout": millis(cfg.IdleInTransactionTimeout, 10*time.Second),
	}
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		return greet(ctx, conn, limits)
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, unreachable(err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, unreachable(err)
	}
	return pool, nil
}

// prepare sets what a connection says of itself when it logs in. Only the
// two settings that poolers know are sent this way; greet sets the rest.
func prepare(cc *pgx.ConnConfig, name string) {
	if name == "" {
		name = defaultName
	}
	cc.RuntimeParams["application_name"] = name
	cc.RuntimeParams["timezone"] = "UTC"
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = defaultConnectTimeout
	}
}

// settings are session settings by name.
type settings map[string]string

// greet refuses a server that is too old and applies the settings.
func greet(ctx context.Context, conn *pgx.Conn, s settings) error {
	if err := checkVersion(conn.PgConn().ParameterStatus("server_version")); err != nil {
		return err
	}
	var batch pgx.Batch
	for name, value := range s {
		batch.Queue("SELECT set_config($1, $2, false)", name, value)
	}
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("setting the session's limits: %w", err)
	}
	return nil
}

// millis writes a duration as Postgres' timeouts take it. A limit below a
// millisecond is one millisecond, because 0 would mean no limit.
func millis(d, preset time.Duration) string {
	if d <= 0 {
		d = preset
	}
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}
