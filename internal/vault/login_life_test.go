package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

func tlsConfig(ca string) *api.TLSConfig { return &api.TLSConfig{CACert: ca} }

// everyWay runs a test for each login method, with tokens of the given lives.
func everyWay(t *testing.T, given func() lives, run func(w *way)) {
	t.Helper()
	for name, setUp := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(setUp(t, given()))
		})
	}
}

// everyLife runs a test for each login method with tokens that live a second,
// prolonged and limited ones, all at once: they mostly wait.
func everyLife(t *testing.T, run func(ctx context.Context, s *vault.Store, rec *recorder) error) {
	t.Helper()
	var group sync.WaitGroup
	for name, setUp := range ways() {
		for kind, given := range map[string]lives{"prolonged": prolonged(), "limited": limited()} {
			w := setUp(t, given)
			group.Go(func() {
				s, rec, err := w.open(t)
				if err == nil {
					err = run(t.Context(), s, rec)
				}
				if err == nil && !w.outlived(rec, kind) {
					err = errors.New("not prolonged often enough")
				}
				if err != nil {
					t.Errorf("%s, %s: %v: %v", name, kind, err, rec.operations())
				}
			})
		}
	}
	group.Wait()
}

// outlived says whether a token of a second has been renewed, and a limited one
// been replaced. How often depends on how fast the machine is.
func (w *way) outlived(rec *recorder, kind string) bool {
	wanted, times := "vault.renew 200", 1
	if kind == "limited" {
		wanted, times = "vault.login 200", 2
	}
	if kind == "limited" && w.auth.Method == "token" {
		wanted, times = "vault.read 200", 3 // two tokens are looked up, and the mount
	}
	for _, o := range rec.operations() {
		if o == wanted {
			times--
		}
	}
	return times <= 0
}

// TestLoginLasts: a token that lives a second is good for many seconds of
// calls, renewed or replaced.
func TestLoginLasts(t *testing.T) {
	t.Parallel()
	everyLife(t, func(ctx context.Context, s *vault.Store, _ *recorder) error {
		p, err := s.Path("p1", "lasting")
		for cas, late, end := 0, 0, time.Now().Add(4*time.Second); err == nil && time.Now().Before(end); {
			_, err = s.Put(ctx, p, data("k"), cas)
			switch {
			case err == nil:
				cas, late = cas+1, 0
			case errors.Is(err, vault.ErrDenied) && late < 3: // the machine took a second between login and write
				late, err = late+1, nil
			}
			wait(t, 150*time.Millisecond)
		}
		return err
	})
}

// TestLoginKeptAlive: between two runs, when nothing is asked of Vault, the
// login lives on, and Vault is not asked all the time.
func TestLoginKeptAlive(t *testing.T) {
	t.Parallel()
	everyLife(t, func(ctx context.Context, s *vault.Store, rec *recorder) error {
		ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
		defer cancel()
		s.KeepAlive(ctx)
		if len(rec.operations()) > 60 {
			return errors.New("asked too often")
		}
		return nil
	})
}

// TestLoginRevoked: when every token has been revoked on the server, the next
// write goes through nevertheless, under what the files hold by then.
func TestLoginRevoked(t *testing.T) {
	t.Parallel()
	everyWay(t, lasting, func(w *way) {
		t := w.t
		s, rec, err := w.open(t)
		if err != nil {
			t.Fatal(err)
		}
		p, who := path(t, s, "revoked"), s.Entity()
		must[int](t)(s.Put(t.Context(), p, data("k"), 0)) // a connection that may be used again
		rec.forget()
		w.revoke(t)
		if w.replace != nil {
			w.replace()
		}
		must[int](t)(s.Put(t.Context(), p, data("k"), 1))
		got := rec.operations()
		if got[0] != "vault.write 403" || got[len(got)-1] != "vault.write 200" {
			t.Errorf("sent %v", got)
		}
		if w.another && s.Entity() == who {
			t.Errorf("still logged in as %s: what the file holds now was not read", who)
		}
		w.checkSilent(t, rec.text())
	})
}

// TestLoginRefused: what Vault does not accept is ErrDenied, and the error says
// where to look. That it holds no secret is seen, too.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	everyWay(t, lasting, func(w *way) {
		t := w.t
		w.spoil()
		refused := map[string]string{"spoilt": w.blamed}
		changes := map[string]func(*vault.Config){"spoilt": func(*vault.Config) {}}
		if w.mount != "" && !w.auth.Wrapped {
			refused["elsewhere"] = "VAULT_AUTH_MOUNT (nowhere)"
			changes["elsewhere"] = func(c *vault.Config) { c.Auth.Mount = "nowhere" }
		}
		if w.auth.JWTFile != "" || w.cert != "" {
			refused["no such role"] = "(VAULT_AUTH_ROLE)"
			changes["no such role"] = func(c *vault.Config) { c.Auth.Role = "nobody" }
		}
		for name, change := range changes {
			_, rec, err := w.open(t, change)
			if err == nil {
				t.Fatalf("%s: logged in", name)
			}
			want(t, err, vault.ErrDenied)
			if !strings.Contains(err.Error(), refused[name]) {
				t.Errorf("%s: %v does not name %s", name, err, refused[name])
			}
			w.checkSilent(t, rec.text()+err.Error())
		}
	})
}

// checkSilent: nothing that the files hold is in a text.
func (w *way) checkSilent(t *testing.T, text string) {
	t.Helper()
	for _, file := range w.files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if held := strings.TrimSpace(string(b)); held == "" || strings.Contains(text, held) {
			t.Errorf("what %s holds has got out", file)
		}
	}
}

// TestLoginFileMissing: a file that cannot be read says so, and a login that
// still lives goes on until it can be.
func TestLoginFileMissing(t *testing.T) {
	t.Parallel()
	everyWay(t, lasting, func(w *way) {
		t := w.t
		if len(w.files) == 0 {
			return // there is none to miss
		}
		s, _, err := w.open(t)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range w.files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		must[int](t)(s.Put(t.Context(), path(t, s, "missing"), data("k"), 0))
		_, _, err = w.open(t)
		want(t, err, vault.ErrConfig)
		if err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestRenewalRefused: a renewal that Vault answers with 500, as it does past the
// longest life, is followed by another login at once.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	to, clock := memory(t, full(), 10*time.Second), time.Now()
	proxy := to.behind(t)
	s, rec := to.open(t, func(c *vault.Config) { c.Now = func() time.Time { return clock } })
	rec.forget()
	proxy.Fail(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/renew-self") }, vaulttest.InternalError)
	clock = clock.Add(7 * time.Second)
	_, err := s.Read(t.Context(), path(t, s, "refused"))
	want(t, err, vault.ErrNotFound)
	if got := strings.Join(rec.operations(), ", "); got != "vault.renew 500, vault.login 200, vault.read 404" {
		t.Errorf("sent %s", got)
	}
}

// TestRenewalTooShort: a renewal that leaves less than half of a new token's
// life is not waited out.
func TestRenewalTooShort(t *testing.T) {
	t.Parallel()
	w, clock := byAppRole(t, lives{"token_ttl": "6s", "token_max_ttl": "6s"}), time.Now()
	s, rec, err := w.open(t, func(c *vault.Config) { c.Now = func() time.Time { return clock } })
	if err != nil {
		t.Fatal(err)
	}
	rec.forget()
	wait(t, 4200*time.Millisecond) // leaves at most 2 s of the 6, as Vault counts
	clock = clock.Add(4200 * time.Millisecond)
	must[int](t)(s.Put(t.Context(), path(t, s, "short"), data("k"), 0))
	if !strings.Contains(strings.Join(rec.operations(), ", "), "vault.login 200") {
		t.Errorf("sent %v", rec.operations())
	}
}

// TestGivenTokenEnds: the end of a token that stands in the environment is told
// with what to do.
func TestGivenTokenEnds(t *testing.T) {
	t.Parallel()
	w := newWay(t)
	made := w.server.Write(t, "auth/token/create", map[string]any{"policies": []string{w.policy(t)}, "ttl": "10s", "explicit_max_ttl": "10s"})
	w.auth = vault.Auth{Token: secretOf(made)}
	clock := time.Now()
	s, _, err := w.open(t, func(c *vault.Config) { c.Now = func() time.Time { return clock } })
	if err != nil {
		t.Fatal(err)
	}
	w.server.Write(t, "auth/token/revoke", map[string]any{"token": made.Auth.ClientToken})
	clock = clock.Add(11 * time.Second)
	_, err = s.Read(t.Context(), path(t, s, "ended"))
	want(t, err, vault.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN has ended") {
		t.Errorf("error is %v", err)
	}
	want(t, s.Ready(t.Context()), vault.ErrDenied)
}

// TestNamespace: the namespace's header is on every request but the one for
// health, which belongs to the server.
func TestNamespace(t *testing.T) {
	t.Parallel()
	to := memory(t, full(), time.Second)
	proxy := to.behind(t)
	s, _ := to.open(t, func(c *vault.Config) { c.Namespace = "team/sinch" })
	p := path(t, s, "spaced")
	must[int](t)(s.Put(t.Context(), p, data("k"), 0))
	wait(t, 1200*time.Millisecond) // and renewed, or another login
	must[vault.Secret](t)(s.Read(t.Context(), p))
	seen := map[string]bool{}
	for _, r := range proxy.Seen() {
		seen[r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]] = true
		if got := r.Header.Get("X-Vault-Namespace"); got != "team/sinch" {
			t.Errorf("%s has the namespace %q", r.URL.Path, got)
		}
	}
	if !seen["/login"] || !seen["/spaced"] {
		t.Error(fmt.Sprint("seen only ", seen))
	}
}
