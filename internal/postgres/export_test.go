package postgres

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/secret"
)

// CheckVersion is for tests, which have no old server.
var CheckVersion = checkVersion

// ParseError is what Open says about a connection string, without connecting.
func ParseError(url string) error {
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return urlError(secret.New(url), err)
	}
	return nil
}
