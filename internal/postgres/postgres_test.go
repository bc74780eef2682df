package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
)

func TestOpenSetsLimitsOnEveryConnection(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), postgres.Config{
		URL: secret.New(pgtest.Empty(t)), MaxConns: 2, ApplicationName: "test of limits",
		LockTimeout: 1500 * time.Millisecond, IdleInTransactionTimeout: time.Microsecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	want := map[string]string{
		"application_name": "test of limits", "TimeZone": "UTC",
		"lock_timeout": "1500ms", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "1ms",
	}
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release() // not at once: the next turn is to get another one
		got := map[string]string{}
		for name := range want {
			var value string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
				t.Fatal(err)
			}
			got[name] = value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("settings (-want +got):\n%s", diff)
		}
	}
	if got := pool.Stat().TotalConns(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

func TestAFrozenTransactionIsCutOff(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), postgres.Config{
		URL: secret.New(pgtest.Empty(t)), IdleInTransactionTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())     //nolint:errcheck // it gives the broken connection back
	time.Sleep(500 * time.Millisecond) // the freeze
	if _, err := tx.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a transaction outlived its idle limit")
	}
}

// password is one that every encoding changes; it must not be in any error.
const password = `hunter2 p@ss/w:%?ö`

func TestOpenErrorsTellTheKindAndNeverThePassword(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*url.URL)) string {
		u := *good
		change(&u)
		return u.String()
	}
	wrong := url.UserPassword("rotator", password)
	cases := map[string]struct {
		url  string
		want error
	}{
		"wrong password":     {with(func(u *url.URL) { u.User = wrong }), postgres.ErrUnreachable},
		"no such database":   {with(func(u *url.URL) { u.Path = "/nonexistent" }), postgres.ErrUnreachable},
		"refused port":       {with(func(u *url.URL) { u.User, u.Host, u.RawQuery = wrong, closedPort(t), "" }), postgres.ErrUnreachable},
		"unknown host":       {with(func(u *url.URL) { u.User, u.Host, u.RawQuery = wrong, "nohost.invalid", "" }), postgres.ErrUnreachable},
		"empty":              {"", postgres.ErrURL},
		"unescaped password": {"postgres://rotator:" + password + "@localhost/x", postgres.ErrURL},
		"bad port":           {"postgres://rotator:hunter2@localhost:hunter2/x", postgres.ErrURL},
		"bad sslmode":        {"postgres://rotator:hunter2@localhost/x?sslmode=maybe", postgres.ErrURL},
		"keyword form":       {"host=localhost password='hunter2' port=hunter2", postgres.ErrURL},
		"unfinished quote":   {"host=localhost password='hunter2", postgres.ErrURL},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, err := postgres.Open(t.Context(), postgres.Config{URL: secret.New(c.url)})
			if err == nil {
				pool.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, c.want) {
				t.Errorf("error is not %q: %v", c.want, err)
			}
			assertSilent(t, err)
			_, err = postgres.Migrate(t.Context(), secret.New(c.url), someMigrations(1), postgres.MigrateOptions{})
			if !errors.Is(err, c.want) {
				t.Errorf("error of Migrate is not %q: %v", c.want, err)
			}
			assertSilent(t, err)
		})
	}
}

// assertSilent looks for the password in all that can be got out of an error.
func assertSilent(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, form := range []string{"hunter2", "w:%?", password, url.QueryEscape(password)} {
			if strings.Contains(text, form) {
				t.Errorf("error shows the password: %s", text)
			}
		}
	}
	var connectErr *pgconn.ConnectError
	var configErr *pgconn.ParseConfigError
	if errors.As(err, &connectErr) || errors.As(err, &configErr) {
		t.Error("the error's chain holds pgx's configuration")
	}
}

func TestOpenErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	good := pgtest.Empty(t)
	_, err := postgres.Open(t.Context(), postgres.Config{URL: secret.New(good + "&user=stranger")})
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("login as a stranger: %v, want SQLSTATE 28P01 in it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := postgres.Open(ctx, postgres.Config{URL: secret.New(good)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it is to be closed
	return l.Addr().String()
}

func TestVersionGate(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"15.4 (Debian 15.4-1)": true, "18beta1": true, "15": true, "100.1": true,
		"14.9": false, "9.6.24": false, "": false, "devel": false, "-16": false, "99999999999999999999": false,
	}
	for version, good := range cases {
		err := postgres.CheckVersion(version)
		if good != (err == nil) || !good && !errors.Is(err, postgres.ErrTooOld) {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func FuzzCheckVersion(f *testing.F) {
	f.Add("15.4 (Debian 15.4-1)")
	f.Add("9.6.24")
	f.Fuzz(func(t *testing.T, version string) {
		if err := postgres.CheckVersion(version); err != nil && !errors.Is(err, postgres.ErrTooOld) {
			t.Errorf("CheckVersion(%q): %v", version, err)
		}
	})
}

// FuzzURL: whatever stands in a connection string, its password is not in
// the error.
func FuzzURL(f *testing.F) {
	f.Add("sekret-1", "localhost", "sslmode=maybe")
	f.Add("a b", "localhost:x", "")
	f.Add("x%zz@", "[::1", "port=q&password=y")
	f.Fuzz(func(t *testing.T, pass, host, query string) {
		if len(pass) < 6 || strings.Contains(host+query+postgres.ErrURL.Error()+"its text is not shown, it may hold a password; want postgres://user:password@host:5432/database", pass) {
			return
		}
		if err := postgres.ParseError("postgres://user:" + pass + "@" + host + "/db?" + query); err != nil && strings.Contains(err.Error(), pass) {
			t.Errorf("error shows the password %q: %v", pass, err)
		}
	})
}
