// Package migrations holds the database's schema as numbered SQL files, in
// the form that pressly/goose reads. A published file is never edited: what
// changes gets the next number.
package migrations

import "embed"

// FS holds the files, for postgres.Migrate and postgres.CheckSchema.
//
//go:embed *.sql
var FS embed.FS
