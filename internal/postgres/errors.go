package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"rotator/internal/secret"
)

// Errors of Open, Migrate, MigrationStatus and CheckSchema.
var (
	// ErrUnreachable means that there is no usable connection: nobody
	// listens, the login or TLS was refused, or no answer came in time.
	// Trying again later may help.
	ErrUnreachable = errors.New("cannot connect to Postgres")
	// ErrURL means that the connection string cannot be read. Permanent.
	ErrURL = errors.New("the database URL cannot be read")
	// ErrTooOld means that the server is older than MinVersion. Permanent.
	ErrTooOld = errors.New("the Postgres server is too old")
	// ErrSchemaBehind means that migrations of this binary have not been
	// applied. Permanent until somebody applies them.
	ErrSchemaBehind = errors.New("the database schema is behind this binary: run `rotator migrate up`")
	// ErrRoles means that the roles named to Migrate do not have the rights
	// that they should have, and this login cannot give them; the message
	// holds the SQL that somebody else must run. What was to be migrated is.
	ErrRoles = errors.New("roles lack rights")
)

// unreachable wraps an error from connecting. The chain is cut on purpose:
// pgx's errors hold the whole configuration, password included. The server's
// own error and the context's stay, for errors.As and errors.Is.
func unreachable(err error) error {
	if errors.Is(err, ErrTooOld) {
		return err
	}
	text := strings.Join(strings.Fields(secret.Scrub(err.Error())), " ")
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return &connectError{text: text, cause: cause}
		}
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return &connectError{text: text, cause: pgErr}
	}
	return &connectError{text: text}
}

// connectError is ErrUnreachable with the reason.
type connectError struct {
	text  string
	cause error
}

func (e *connectError) Error() string { return ErrUnreachable.Error() + ": " + e.text }

func (e *connectError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrUnreachable}
	}
	return []error{ErrUnreachable, e.cause}
}

// urlError says what is wrong with a connection string as far as that can be
// told without showing any of it: a parser's message may quote the part that
// it could not read, and that part may be the password.
func urlError(dsn secret.Value, err error) error {
	const want = "want postgres://user:password@host:5432/database"
	if dsn.IsZero() {
		return fmt.Errorf("%w: it is empty; %s", ErrURL, want)
	}
	u, parseErr := url.Parse(dsn.Reveal())
	if parseErr != nil || u.Scheme == "" {
		return fmt.Errorf("%w (its text is not shown, it may hold a password); %s", ErrURL, want)
	}
	cause := err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	text := cause.Error()
	if quotes(text, u) {
		return fmt.Errorf("%w (its text is not shown, it may hold a password); %s", ErrURL, want)
	}
	return fmt.Errorf("%w: %s", ErrURL, text)
}

// quotes reports whether text contains the URL's password in any form.
func quotes(text string, u *url.URL) bool {
	passwords := append(u.Query()["password"], u.Query()["sslpassword"]...)
	if p, ok := u.User.Password(); ok {
		passwords = append(passwords, p, url.QueryEscape(p), url.PathEscape(p))
	}
	for _, p := range passwords {
		if p != "" && strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// checkVersion judges what the server reports as server_version, such as
// "15.4 (Debian 15.4-1)" or "18beta1".
func checkVersion(version string) error {
	digits := version
	if i := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = version[:i]
	}
	major, err := strconv.Atoi(digits)
	if err != nil || major < MinVersion {
		return fmt.Errorf("%w: it is version %.20q, rotator needs %d or newer", ErrTooOld, version, MinVersion)
	}
	return nil
}
