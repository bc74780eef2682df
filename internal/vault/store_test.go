package vault_test

import (
	"context"
	"testing"
	"time"

	"rotator/internal/secret"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// TestSealed: reads and writes say so, and go on once a person has unsealed.
func TestSealed(t *testing.T) {
	t.Parallel()
	server, stop := vaulttest.Start(t)
	to := target{addr: server.Addr, root: server.Token, prefix: vaulttest.Prefix(), auth: vault.Auth{Token: server.Token}}
	s, _ := to.open(t)
	p := path(t, s, "sealed")
	server.Seal(t)
	_, err := s.Read(t.Context(), p)
	want(t, err, vault.ErrSealed)
	_, err = s.Put(t.Context(), p, data("k"), 0)
	want(t, err, vault.ErrSealed)
	want(t, err, vault.ErrStateUnknown)
	_, _, err = to.tryOpen(t)
	want(t, err, vault.ErrSealed)
	if server.UnsealKey != "" {
		server.Unseal(t)
		must[int](t)(s.Put(t.Context(), p, data("k"), 0))
	}
	stop()
	_, err = s.Read(t.Context(), p)
	want(t, err, vault.ErrUnreachable)
	_, _, err = to.tryOpen(t)
	want(t, err, vault.ErrUnreachable)
}

// TestOtherMount: a KV version 1 mount is refused before anything is written.
func TestOtherMount(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	mount := vaulttest.Prefix()
	_, err := to.admin(t).Logical().WriteWithContext(t.Context(), "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = to.tryOpen(t, func(c *vault.Config) { c.Mount = mount })
	want(t, err, vault.ErrConfig)
}

// TestTokenRenewed: a renewable token is prolonged, not replaced.
func TestTokenRenewed(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	answer, err := to.admin(t).Logical().WriteWithContext(t.Context(), "auth/token/create", map[string]any{"ttl": "60s", "display_name": "tester"})
	if err != nil {
		t.Fatal(err)
	}
	s, rec := renewable(t, to, answer.Auth.ClientToken)
	if s.Entity() != "token-tester" {
		t.Errorf("the login is %q", s.Entity())
	}
	_, err = s.Read(t.Context(), path(t, s, "x"))
	want(t, err, vault.ErrNotFound)
	if got := rec.operations(); len(got) != 2 || got[0] != "vault.renew 200" {
		t.Errorf("sent %v", got)
	}
}

// renewable opens a store with the token and lets 45 s pass on its clock.
func renewable(t *testing.T, to target, token string) (*vault.Store, *recorder) {
	t.Helper()
	clock := time.Now()
	s, rec := to.open(t, func(c *vault.Config) {
		c.Auth = vault.Auth{Token: secret.New(token)}
		c.Now = func() time.Time { return clock }
	})
	rec.forget()
	clock = clock.Add(45 * time.Second)
	return s, rec
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	s, _ := memory(t, nil, 0).open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Read(ctx, path(t, s, "x"))
	want(t, err, context.Canceled)
	_, err = s.Put(ctx, path(t, s, "x"), data("k"), 0)
	want(t, err, context.Canceled)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	to := memory(t, nil, 0)
	for name, change := range map[string]func(*vault.Config){
		"recorder": func(c *vault.Config) { c.Recorder = nil },
		"mount":    func(c *vault.Config) { c.Mount = "a/../b" },
		"prefix":   func(c *vault.Config) { c.Prefix = "sinch//x" },
		"address":  func(c *vault.Config) { c.API.Address = "::" },
	} {
		_, _, err := to.tryOpen(t, change)
		if err == nil {
			t.Errorf("a bad %s was accepted", name)
			continue
		}
		want(t, err, vault.ErrConfig)
	}
}
