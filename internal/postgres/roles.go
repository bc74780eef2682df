package postgres

import (
	"context"
	"database/sql"
	_ "embed" // for rights.sql
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// rights is the query behind MigrateOptions; its comment says what each role
// may do.
//
//go:embed rights.sql
var rights string

// SQLSTATEs that are handled.
const (
	insufficientPrivilege = "42501"
	duplicateObject       = "42710"
	uniqueViolation       = "23505"
	internalError         = "XX000" // "tuple concurrently updated"
)

// conflicts is how often something that others do at the same time is tried
// again: roles belong to the whole cluster, while goose locks one database.
const conflicts = 20

// arrange brings roles and their rights to what they should be, and returns
// the statements that did it.
func arrange(ctx context.Context, conn *sql.Conn, roles MigrateOptions) (ran []string, err error) {
	if err := roles.check(); err != nil {
		return nil, err
	}
	for _, name := range []string{roles.Owner, roles.Writer, roles.Auditor} {
		made, err := ensureRole(ctx, conn, name)
		if ran = append(ran, made...); err != nil {
			return ran, err
		}
	}
	joined, err := join(ctx, conn, roles.Owner)
	if ran = append(ran, joined...); err != nil {
		return ran, err
	}
	granted, err := grant(ctx, conn, roles)
	return append(ran, granted...), err
}

// check refuses names that would undo the separation.
func (r MigrateOptions) check() error {
	for _, pair := range [][2]string{{r.Writer, r.Auditor}, {r.Writer, r.Owner}, {r.Auditor, r.Owner}} {
		if pair[0] != "" && pair[0] == pair[1] {
			return fmt.Errorf("%w: role %s is named twice; writer, auditor and owner must be three roles, or the log could be changed by who uses it", ErrRoles, pair[0])
		}
	}
	return nil
}

// ensureRole creates a role that is missing.
func ensureRole(ctx context.Context, conn *sql.Conn, name string) (ran []string, err error) {
	if name == "" {
		return nil, nil
	}
	var create string
	var exists bool
	const ask = `SELECT format('CREATE ROLE %I NOLOGIN', $1::text), EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`
	if err := conn.QueryRowContext(ctx, ask, name).Scan(&create, &exists); err != nil {
		return nil, fmt.Errorf("looking for role %s: %w", name, err)
	}
	if exists {
		return nil, nil
	}
	if _, err = conn.ExecContext(ctx, create); err == nil {
		return []string{create}, nil
	}
	switch state(err) {
	case duplicateObject, uniqueViolation: // made elsewhere meanwhile, which is as good
		return nil, nil
	case insufficientPrivilege:
		return nil, needsAdmin(fmt.Sprintf("role %s does not exist, and this login may not create roles", name), create)
	}
	return nil, fmt.Errorf("creating role %s: %w", name, err)
}

// join makes this login a member of the owner: handing over to it needs that,
// and so do later migrations.
func join(ctx context.Context, conn *sql.Conn, owner string) (ran []string, err error) {
	if owner == "" {
		return nil, nil
	}
	var login, statement string
	var member bool // a superuser is one of every role
	const ask = `SELECT current_user, format('GRANT %I TO %I', $1::name, current_user), pg_has_role($1::name, 'USAGE')`
	if err := conn.QueryRowContext(ctx, ask, owner).Scan(&login, &statement, &member); err != nil {
		return nil, fmt.Errorf("asking who is a member of role %s: %w", owner, err)
	}
	if member {
		return nil, nil
	}
	err = retry(ctx, func() error {
		_, err := conn.ExecContext(ctx, statement)
		return err //nolint:wrapcheck // wrapped below
	})
	if state(err) == insufficientPrivilege {
		return nil, needsAdmin(fmt.Sprintf("login %s is not a member of role %s", login, owner), statement)
	}
	if err != nil {
		return nil, fmt.Errorf("joining role %s: %w", owner, err)
	}
	// The server process remembers which roles this login has, and misses one
	// that another session gives it just while it gathers them. Asking about
	// another role makes it gather them anew.
	if _, err := conn.ExecContext(ctx, `SELECT pg_has_role($1::name, 'pg_monitor', 'USAGE')`, owner); err != nil {
		return nil, fmt.Errorf("joining role %s: %w", owner, err)
	}
	return []string{statement}, nil
}

// grant runs what rights returns, in one transaction: nobody is without rights
// in between.
func grant(ctx context.Context, conn *sql.Conn, roles MigrateOptions) (ran []string, err error) {
	err = retry(ctx, func() error {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("beginning a transaction: %w", err)
		}
		defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
		if ran, err = missing(ctx, tx, roles); err != nil {
			return err
		}
		for i, statement := range ran {
			if _, err := tx.ExecContext(ctx, statement); state(err) == insufficientPrivilege {
				return foreign(ctx, conn, tx, err, ran[i:])
			} else if err != nil {
				return fmt.Errorf("running %q: %w", statement, err)
			}
		}
		// A GRANT by who may not grant only warns.
		left, err := missing(ctx, tx, roles)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return needsAdmin("these rights cannot be given by this login", left...)
		}
		return tx.Commit()
	})
	if err != nil {
		return nil, fmt.Errorf("giving roles their rights: %w", err)
	}
	return ran, nil
}

// missing asks what remains to be done.
func missing(ctx context.Context, tx *sql.Tx, roles MigrateOptions) (statements []string, err error) {
	rows, err := tx.QueryContext(ctx, rights, roles.Writer, roles.Auditor, roles.Owner)
	if err != nil {
		return nil, fmt.Errorf("comparing rights: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err says it all
	for rows.Next() {
		var step int
		var statement string
		if err := rows.Scan(&step, &statement); err != nil {
			return nil, fmt.Errorf("comparing rights: %w", err)
		}
		statements = append(statements, statement)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("comparing rights: %w", err)
	}
	return statements, nil
}

// foreign says why a statement was refused: mostly because what it is about
// belongs to a role that this login is no member of. Then one GRANT is the
// remedy, unless that role is a superuser, which nobody should become.
func foreign(ctx context.Context, conn *sql.Conn, tx *sql.Tx, cause error, rest []string) error {
	const strangers = `SELECT r.rolname, r.rolsuper, current_user, format('GRANT %I TO %I', r.rolname, current_user)
		FROM pg_roles r
		WHERE r.oid IN (
			SELECT nspowner FROM pg_namespace WHERE nspname IN ('audit', 'rotator')
			UNION SELECT relowner FROM pg_class WHERE relnamespace IN (to_regnamespace('audit'), to_regnamespace('rotator'))
			UNION SELECT proowner FROM pg_proc WHERE pronamespace IN (to_regnamespace('audit'), to_regnamespace('rotator')))
		AND NOT pg_has_role(r.oid, 'USAGE') ORDER BY 1 LIMIT 1`
	if err := tx.Rollback(); err != nil {
		return errors.Join(cause, err)
	}
	var owner, login, remedy string
	var super bool
	err := conn.QueryRowContext(ctx, strangers).Scan(&owner, &super, &login, &remedy)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return needsAdmin(message(cause), rest...)
	case err != nil:
		return errors.Join(cause, err)
	case super:
		return fmt.Errorf("%w: the schemas belong to superuser %s: run `rotator migrate up` once as %s, with --owner-role naming a role that login %s is a member of", ErrRoles, owner, owner, login)
	}
	return needsAdmin(fmt.Sprintf("the schemas belong to role %s, which login %s is not a member of", owner, login), remedy)
}

// needsAdmin is ErrRoles with what somebody with more rights has to run.
func needsAdmin(why string, statements ...string) error {
	return fmt.Errorf("%w: %s; an administrator must run in this database: %s; then run `rotator migrate up` again", ErrRoles, why, strings.Join(statements, "; "))
}

// retry does something again that met somebody doing the same.
func retry(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if s := state(err); s != internalError && s != uniqueViolation || n == conflicts {
			return err
		}
		timer := time.NewTimer(rand.N(100 * time.Millisecond)) // #nosec G404 -- to get out of step, not to be secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// state is an error's SQLSTATE, "" where it has none and where there is no
// error.
func state(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// message is what the server says, without its code.
func message(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Message
	}
	return err.Error()
}
