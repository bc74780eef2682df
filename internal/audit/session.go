package audit

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// session is the writer's connection: configured like the pool's, with
// deadlines of its own on the server, so that a process that hangs does not
// keep the head locked.
type session struct {
	pool    *pgxpool.Pool
	timeout time.Duration
	conn    *pgx.Conn // nil when there is none

	// contended says that another process appends too: the next attempt
	// takes the lock at once instead of failing first.
	contended bool
}

// connect returns the connection; fresh says that it is a new one, because
// there was none or the old one was lost.
func (s *session) connect(ctx context.Context) (conn *pgx.Conn, fresh bool, err error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, false, nil
	}
	conn, err = s.dial(ctx)
	return conn, true, err
}

func (s *session) dial(ctx context.Context) (*pgx.Conn, error) {
	s.conn = nil
	pool := s.pool.Config()
	cfg := pool.ConnConfig.Copy()
	if pool.BeforeConnect != nil { // it may supply a fresh password
		if err := pool.BeforeConnect(ctx, cfg); err != nil {
			return nil, fmt.Errorf("preparing to connect: %w", err)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s.conn = conn
	if pool.AfterConnect != nil {
		if err := pool.AfterConnect(ctx, conn); err != nil {
			s.drop(ctx)
			return nil, fmt.Errorf("preparing the connection: %w", err)
		}
	}
	// The server gives up before we do: its refusal is certain, our own
	// timeout would leave the state unknown. A process that is frozen while it
	// holds the head loses its transaction before others give up waiting for
	// it. synchronous_commit "off" would
	// acknowledge what a crash of the server may still lose.
	const limits = `select set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $3, false),
		case current_setting('synchronous_commit') when 'off' then set_config('synchronous_commit', 'on', false) end`
	_, err = conn.Exec(ctx, limits, milliseconds(s.timeout*3/4), milliseconds(s.timeout/2), milliseconds(s.timeout/4))
	if err != nil {
		s.drop(ctx)
		return nil, fmt.Errorf("setting deadlines: %w", err)
	}
	return conn, nil
}

// drop closes the connection; the next connect makes a new one.
func (s *session) drop(ctx context.Context) {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // a connection given up: nothing depends on how it ends
	s.conn = nil
}

// rollback ends the transaction that was left open, if one was.
func (s *session) rollback(ctx context.Context) {
	if s.conn == nil || s.conn.IsClosed() || s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := s.conn.Exec(ctx, `rollback`); err != nil {
		s.drop(ctx) // which ends it, too
	}
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}

func readHead(ctx context.Context, conn *pgx.Conn) (t tree, user string, err error) {
	var size int64
	var root, frontier []byte
	const query = `select size, root, frontier, session_user::text from audit.head`
	if err := conn.QueryRow(ctx, query).Scan(&size, &root, &frontier, &user); err != nil {
		return tree{}, "", fmt.Errorf("reading the head: %w", err)
	}
	t, err = parseTree(size, root, frontier)
	return t, user, err
}
