package audit_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"rotator/migrations"
)

// auditOnly returns the log's own migration: what roles may do with it must
// not depend on what comes later.
func auditOnly(t testing.TB) fs.FS {
	t.Helper()
	text, err := migrations.FS.ReadFile("0001_audit.sql")
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"0001_audit.sql": {Data: text}}
}
