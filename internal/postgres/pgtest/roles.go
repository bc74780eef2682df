package pgtest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres"
)

// The roles of every test database, as an installation should have them: an
// administrator has made them, and who migrates may make none. They belong to
// the whole server.
const (
	owner     = "rotator_test_owner"     // owns the schemas; nobody logs in as it
	installer = "rotator_test_installer" // migrates: owns the database, is a member of owner
	writer    = "rotator_test_writer"    // the daemon's
	auditor   = "rotator_test_auditor"
)

// Roles are the names for postgres.Migrate on a database that Empty gave.
func Roles() postgres.MigrateOptions {
	return postgres.MigrateOptions{Writer: writer, Auditor: auditor, Owner: owner}
}

// Writer returns the daemon's URL of the database that another login's URL is
// for.
func Writer(t testing.TB, url string) string {
	t.Helper()
	return login(server(t).admin, writer, databaseOf(t, url))
}

// Auditor returns the auditor's URL of the database that another login's URL
// is for.
func Auditor(t testing.TB, url string) string {
	t.Helper()
	return login(server(t).admin, auditor, databaseOf(t, url))
}

// Installer returns the URL, for the database that another login's URL is
// for, of who migrates it.
func Installer(t testing.TB, url string) string {
	t.Helper()
	return login(server(t).admin, installer, databaseOf(t, url))
}

// Superuser returns the superuser's URL of the database that another login's
// URL is for. It is for setting the stage and for attacks: what is tested
// works without.
func Superuser(t testing.TB, url string) string {
	t.Helper()
	return onDatabase(server(t).admin, databaseOf(t, url))
}

// Admin returns the superuser's pool on the database of another pool; see
// Superuser.
func Admin(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	return Pool(t, Superuser(t, pool.Config().ConnString()))
}

// ensureRoles makes the roles and sets their passwords. It needs the
// template's lock.
func ensureRoles(ctx context.Context, conn *pgx.Conn, admin string) error {
	for _, role := range []struct{ name, attributes string }{
		{owner, "NOLOGIN"}, {installer, "LOGIN IN ROLE " + owner}, {writer, "LOGIN"}, {auditor, "LOGIN"},
	} {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role.name).Scan(&exists); err != nil {
			return fmt.Errorf("looking for role %s: %w", role.name, err)
		}
		statement := "ALTER ROLE " + role.name + " PASSWORD '" + password(admin, role.name) + "'"
		if !exists {
			statement = "CREATE ROLE " + role.name + " " + role.attributes + "; " + statement
		}
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("making role %s: %w", role.name, err)
		}
	}
	return nil
}

// password is a role's. All processes that share a server know its URL, and
// with it this; it is written down nowhere.
func password(admin, role string) string {
	mac := hmac.New(sha256.New, []byte(admin))
	mac.Write([]byte(role))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// login is the URL of a role for a database.
func login(admin, role, database string) string {
	u, err := url.Parse(admin)
	if err != nil {
		return admin // which connecting will complain about
	}
	u.User, u.Path = url.UserPassword(role, password(admin, role)), "/"+database
	return u.String()
}

// RoleName returns a name for a role that no other test uses. If a role of
// that name exists in the end it is dropped: call this before making the
// databases in which it is to have rights.
func RoleName(t testing.TB) string {
	t.Helper()
	admin, name := server(t).admin, "t_role_"+strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupTimeout)
		defer cancel()
		if err := execute(ctx, admin, "DROP ROLE IF EXISTS "+name); err != nil {
			t.Errorf("dropping a role: %v", err)
		}
	})
	return name
}

// MakeRole creates a role as an administrator would, or changes it, with
// attributes of CREATE ROLE. Login gives its URL.
func MakeRole(t testing.TB, name, attributes string) {
	t.Helper()
	admin := server(t).admin
	statement := fmt.Sprintf(`DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') THEN CREATE ROLE %[1]s; END IF;
		ALTER ROLE %[1]s %[2]s PASSWORD '%[3]s';
	END $$`, name, attributes, password(admin, name))
	if err := execute(t.Context(), admin, statement); err != nil {
		t.Fatalf("making role %s: %v", name, err)
	}
}

// Login returns the URL of a role of MakeRole's for the database that another
// login's URL is for.
func Login(t testing.TB, url, role string) string {
	t.Helper()
	return login(server(t).admin, role, databaseOf(t, url))
}

// Give makes a role the owner of the database that a URL is for.
func Give(t testing.TB, url, role string) {
	t.Helper()
	if err := execute(t.Context(), server(t).admin, "ALTER DATABASE "+databaseOf(t, url)+" OWNER TO "+role); err != nil {
		t.Fatalf("giving a database away: %v", err)
	}
}
