package vault_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/internal/secret"
	"rotator/internal/vault"
)

// policy: all of the work passes under the policy that CanWrite asks for, and
// with less, errors say what is missing.
func policy(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, full(), time.Minute).open(t)
	p := path(t, s, "allowed")
	if err := s.CanWrite(t.Context(), p); err != nil {
		t.Error(err)
	}
	if err := s.SetMetadata(t.Context(), p, map[string]string{"managed_by": "rotator"}); err != nil {
		t.Error(err)
	}
	must[int](t)(s.Rewrite(t.Context(), p, 0))
	must[int](t)(s.Put(t.Context(), p, data("k"), 1))
	if err := s.Destroy(t.Context(), p, []int{1}); err != nil {
		t.Error(err)
	}
	if s.Entity() == "" {
		t.Error("the login has no name")
	}

	to := server(t, []rule{{"secret/data/%s/*", []string{"read"}}}, time.Minute)
	s, _ = to.open(t)
	p = path(t, s, "forbidden")
	err := s.CanWrite(t.Context(), p)
	want(t, err, vault.ErrDenied)
	for _, part := range []string{
		"create and update at secret/data/" + p, "create and read and update at secret/metadata/" + p, "update at secret/destroy/" + p,
		`path "secret/data/` + to.prefix + `/*" { capabilities = ["create", "read", "update"] }`,
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	_, err = s.Put(t.Context(), p, data("k"), 0)
	want(t, err, vault.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), "secret/data/"+p) || !strings.Contains(err.Error(), `["create", "update"]`) {
		t.Errorf("%v does not name path and policy", err)
	}
	_, err = s.Read(t.Context(), p)
	want(t, err, vault.ErrNotFound)
}

// loginExpires: the clock of the store stands still, so only Vault's 403 can
// tell it that its token is dead. A write goes through nevertheless, once.
func loginExpires(c contract) {
	t, server := c.t, c.server
	s, rec := server(t, full(), time.Second).open(t, func(c *vault.Config) {
		c.Now = func() time.Time { return time.Unix(1e9, 0) }
	})
	p := path(t, s, "late")
	wait(t, 1500*time.Millisecond)
	rec.forget()
	if v := must[int](t)(s.Put(t.Context(), p, data("k"), 0)); v != 1 {
		t.Errorf("wrote version %d", v)
	}
	got := strings.Join(rec.operations(), ", ")
	if expected := "vault.write 403, vault.read 403, vault.login 200, vault.write 200"; got != expected {
		t.Errorf("sent %s, want %s", got, expected)
	}
	if len(rec.intents) != 2 || rec.intents[0].Attempt != 1 || rec.intents[1].Attempt != 2 {
		t.Errorf("intents are %+v", rec.intents)
	}
}

// loginRenewed: many callers at two thirds of a token's life make one renewal.
func loginRenewed(c contract) {
	t, server := c.t, c.server
	clock := time.Now()
	s, rec := server(t, full(), 10*time.Second).open(t, func(c *vault.Config) {
		c.Now = func() time.Time { return clock }
	})
	p := path(t, s, "renewed")
	count := func() int {
		return len(slices.DeleteFunc(rec.operations(), func(o string) bool { return o != "vault.renew 200" }))
	}
	clock = clock.Add(6 * time.Second)
	_, err := s.Read(t.Context(), p)
	want(t, err, vault.ErrNotFound)
	if n := count(); n != 0 {
		t.Errorf("%d renewals before two thirds of the token's life", n)
	}
	clock = clock.Add(time.Second)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, err := s.Read(t.Context(), p)
			want(t, err, vault.ErrNotFound)
		})
	}
	group.Wait()
	if n := count(); n != 1 {
		t.Errorf("%d renewals, want 1", n)
	}
}

func badLogin(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	for name, c := range map[string]struct {
		auth vault.Auth
		want error
	}{
		"token":       {vault.Auth{Token: secret.New("hvs.no-such-token")}, vault.ErrDenied},
		"no token":    {vault.Auth{}, vault.ErrConfig},
		"approle":     {vault.Auth{Method: "approle", RoleID: "r", SecretID: secret.New("wrong-secret")}, vault.ErrDenied},
		"no role":     {vault.Auth{Method: "approle"}, vault.ErrConfig},
		"kubernetes":  {vault.Auth{Method: "kubernetes"}, vault.ErrConfig},
		"jwt":         {vault.Auth{Method: "jwt", Role: "r"}, vault.ErrConfig},
		"cert":        {vault.Auth{Method: "cert"}, vault.ErrConfig},
		"nonsense":    {vault.Auth{Method: "magic"}, vault.ErrConfig},
		"other mount": {vault.Auth{Method: "approle", Mount: "elsewhere", RoleID: "r", SecretID: secret.New("wrong-secret")}, vault.ErrDenied},
	} {
		_, _, err := to.tryOpen(t, func(cfg *vault.Config) { cfg.Auth = c.auth })
		if err == nil {
			t.Errorf("%s: logged in", name)
			continue
		}
		want(t, err, c.want)
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
