package vault_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/call"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// behind puts a proxy before the target.
func (to *target) behind(t *testing.T) *vaulttest.Proxy {
	t.Helper()
	p := vaulttest.NewProxy(t, to.addr)
	to.addr = p.URL
	return p
}

func writes(r *http.Request) bool { return r.Method != http.MethodGet }

func reads(r *http.Request) bool { return r.Method == http.MethodGet }

// lostWrite: whether a write was applied or not, a lost answer looks the same,
// is never repeated, and reading settles it.
func lostWrite(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	proxy := to.behind(t)
	s, rec := to.open(t)
	for fault, applied := range map[vaulttest.Fault]bool{
		vaulttest.NotApplied: false, vaulttest.Unanswered: true,
		vaulttest.InternalError: false, vaulttest.BadGatewayPage: true,
	} {
		p := path(t, s, fmt.Sprint("lost", fault))
		rec.forget()
		proxy.Fail(writes, fault)
		_, err := s.Put(t.Context(), p, data("k1"), 0)
		want(t, err, vault.ErrStateUnknown)
		want(t, err, vault.ErrUnreachable)
		if len(rec.intents) != 1 || len(rec.calls) != 1 {
			t.Errorf("fault %d: %d intents, %d outcomes", fault, len(rec.intents), len(rec.calls))
		}
		got, err := s.Read(t.Context(), p)
		if applied && (err != nil || got.Version != 1 || got.Data.KeyID != "k1") {
			t.Errorf("fault %d: the applied write reads as %+v, %v", fault, got, err)
		}
		if !applied {
			want(t, err, vault.ErrNotFound)
		}
	}
}

// unusableAnswers: the soft-delete of a Rewrite is lost, a redirect runs in
// circles; neither may look like success.
func unusableAnswers(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	proxy := to.behind(t)
	s, rec := to.open(t)
	p := path(t, s, "half")
	proxy.Fail(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/delete/") }, vaulttest.NotApplied)
	v, err := s.Rewrite(t.Context(), p, 0)
	want(t, err, vault.ErrStateUnknown)
	if v != 1 {
		t.Errorf("the version that was written is said to be %d", v)
	}
	proxy.Fail(writes, vaulttest.Redirect, vaulttest.Redirect)
	rec.forget()
	want(t, s.Destroy(t.Context(), p, []int{1}), vault.ErrStateUnknown)
	if len(rec.intents) != len(rec.calls) || len(rec.intents) == 0 {
		t.Errorf("%d intents, %d outcomes", len(rec.intents), len(rec.calls))
	}
}

func readRepeated(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	proxy := to.behind(t)
	s, rec := to.open(t)
	p := path(t, s, "flaky")
	must[int](t)(s.Put(t.Context(), p, data("k1"), 0))
	rec.forget()
	proxy.Fail(reads, vaulttest.NotApplied, vaulttest.InternalError, vaulttest.BadGatewayPage)
	must[vault.Secret](t)(s.Read(t.Context(), p))
	// Go's transport may repeat the dropped one by itself, which is recorded too.
	got := slices.Compact(rec.operations())
	if d := cmp.Diff([]string{"vault.read 0", "vault.read 500", "vault.read 502", "vault.read 200"}, got); d != "" {
		t.Error(d)
	}
	for i, c := range rec.calls {
		if c.Attempt != i+1 {
			t.Errorf("attempt %d is numbered %d", i+1, c.Attempt)
		}
	}
	proxy.Fail(reads, slices.Repeat([]vaulttest.Fault{vaulttest.InternalError}, 9)...)
	_, err := s.Read(t.Context(), p)
	want(t, err, vault.ErrUnreachable)
	if errors.Is(err, vault.ErrStateUnknown) {
		t.Errorf("a read left an unknown state: %v", err)
	}
}

// noIntent: what cannot be recorded is not sent.
func noIntent(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	proxy := to.behind(t)
	s, rec := to.open(t)
	p := path(t, s, "unlogged")
	before := len(proxy.Seen())
	rec.refuse = errLogDown
	_, err := s.Put(t.Context(), p, data("k1"), 0)
	want(t, err, call.ErrNotSent)
	want(t, err, errLogDown)
	want(t, s.Destroy(t.Context(), p, []int{1}), call.ErrNotSent)
	if errors.Is(err, vault.ErrStateUnknown) {
		t.Errorf("nothing was sent, but: %v", err)
	}
	if n := len(proxy.Seen()); n != before {
		t.Errorf("%d requests were sent", n-before)
	}
	want(t, s.SetMetadata(t.Context(), p, map[string]string{"a": "b"}), call.ErrNotSent)
}

// records: every request is labelled, every write has its intent, and no
// secret is in any of it.
func records(c contract) {
	t, server := c.t, c.server
	to := server(t, full(), 0)
	proxy := to.behind(t)
	s, rec := to.open(t, func(c *vault.Config) { c.Namespace = "team/" })
	p := path(t, s, "recorded")
	if err := s.SetMetadata(t.Context(), p, map[string]string{"managed_by": "rotator"}); err != nil {
		t.Fatal(err)
	}
	must[int](t)(s.Put(t.Context(), p, data("k1"), 0))
	must[vault.Secret](t)(s.Read(t.Context(), p))
	must[int](t)(s.Rewrite(t.Context(), p, 1))
	_, err := s.Put(t.Context(), p, data("k1"), 1)
	want(t, err, vault.ErrCASMismatch)
	if err := s.Destroy(t.Context(), p, []int{1}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, c := range rec.calls {
		r := rec.results[i]
		lines = append(lines, fmt.Sprintf("%s %t %s %s %s cas=%d v=%d %d %s", c.Operation, c.Mutating, c.Project, c.VaultPath, c.Key, c.VaultCAS, r.VaultVersion, r.Status, r.Outcome))
	}
	expected := []string{
		"vault.login false    cas=0 v=0 200 ok",
		"vault.read false    cas=0 v=0 200 ok",
		"vault.read false p1 P  cas=0 v=0 404 error",
		"vault.metadata true p1 P  cas=0 v=0 204 ok",
		"vault.write true p1 P k1 cas=0 v=1 200 ok",
		"vault.read false p1 P  cas=0 v=1 200 ok",
		"vault.read false p1 P  cas=0 v=1 200 ok",
		"vault.write true p1 P k1 cas=1 v=2 200 ok",
		"vault.write true p1 P k1 cas=1 v=0 400 error",
		"vault.destroy true p1 P  cas=0 v=0 204 ok",
	}
	if d := cmp.Diff(expected, strings.Split(strings.ReplaceAll(strings.Join(lines, "\n"), p, "P"), "\n")); d != "" {
		t.Error(d)
	}
	if len(rec.intents) != 5 {
		t.Errorf("%d intents", len(rec.intents))
	}
	text := rec.text()
	for _, hidden := range []string{data("k1").KeySecret.Reveal(), to.auth.SecretID.Reveal(), proxy.Seen()[3].Header.Get("X-Vault-Token")} {
		if hidden == "" || strings.Contains(text, hidden) {
			t.Errorf("secret %q is recorded or was never used", hidden[:min(4, len(hidden))])
		}
	}
	for _, r := range proxy.Seen() {
		if r.Header.Get("X-Vault-Namespace") != "team/" {
			t.Errorf("%s went without the namespace", r.URL.Path)
		}
	}
}
