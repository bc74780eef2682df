package vault_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// line is a connection to Vault that can be cut. It counts requests.
type line struct {
	cut      atomic.Bool
	requests atomic.Int64
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.requests.Add(1)
	if l.cut.Load() {
		return nil, errors.New("the line is cut")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestKeepAlive renews a login of one second before it ends, and does not ask
// all the time once it has ended and no new one is to be got.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	role := vaulttest.Server{Addr: to.addr, Token: to.root}.AppRole(t, `path "secret/*" { capabilities = ["read"] }`, time.Second)
	to.auth = vault.Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID}
	wire := new(line)
	s, _ := to.open(t, func(c *vault.Config) { c.Base = wire })
	keep := func() int64 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		before := wire.requests.Load()
		s.KeepAlive(ctx)
		return wire.requests.Load() - before
	}
	if n := keep(); n < 3 || n > 20 {
		t.Errorf("%d requests in four lives of a login", n)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	wire.cut.Store(true)
	if n := keep(); n > 12 {
		t.Errorf("%d requests for a login that is lost", n)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, vault.ErrDenied) {
		t.Errorf("ready with a login that has ended: %v", err)
	}
}
