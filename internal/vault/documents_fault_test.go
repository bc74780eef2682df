package vault_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/call"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// lostCreate: whether a create was applied or not, a lost answer looks the
// same and is never repeated; reading, or creating again, settles it.
func lostCreate(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	proxy := to.behind(t)
	d, rec := to.documents(t)
	for fault, applied := range map[vaulttest.Fault]bool{
		vaulttest.NotApplied: false, vaulttest.Unanswered: true,
		vaulttest.InternalError: false, vaulttest.BadGatewayPage: true,
	} {
		path := fmt.Sprint("keys/lost", fault)
		rec.forget()
		proxy.Fail(writes, fault)
		err := d.Create(t.Context(), path, note("x"))
		want(t, err, vault.ErrStateUnknown)
		want(t, err, vault.ErrUnreachable)
		if len(rec.intents) != 1 || len(rec.calls) != 1 || errors.Is(err, vault.ErrExists) {
			t.Errorf("fault %d: %d intents, %d outcomes, %v", fault, len(rec.intents), len(rec.calls), err)
		}
		_, err = d.Read(t.Context(), path)
		again := d.Create(t.Context(), path, note("x"))
		if applied && (err != nil || !errors.Is(again, vault.ErrExists)) {
			t.Errorf("fault %d: the applied create reads as %v, and again %v", fault, err, again)
		}
		if !applied && (!errors.Is(err, vault.ErrNotFound) || again != nil) {
			t.Errorf("fault %d: what was not applied reads as %v, and again %v", fault, err, again)
		}
	}
}

// blindAfterRefusal: a 403 whose reason cannot be found out is neither.
func blindAfterRefusal(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	proxy := to.behind(t)
	d, _ := to.documents(t)
	create(t, d, anchor, note("x"))
	data := "/data/" + to.prefix + "-audit/" + anchor
	proxy.Fail(func(r *http.Request) bool { return reads(r) && strings.HasSuffix(r.URL.Path, data) },
		slices.Repeat([]vaulttest.Fault{vaulttest.InternalError}, 9)...)
	err := d.Create(t.Context(), anchor, note("y"))
	want(t, err, vault.ErrUnreachable)
	for _, other := range []error{vault.ErrExists, vault.ErrDenied, vault.ErrStateUnknown} {
		if errors.Is(err, other) {
			t.Errorf("%v must not be %v: nobody knows", err, other)
		}
	}
}

// unrecordedCreate: what cannot be recorded is not sent.
func unrecordedCreate(c contract) {
	t := c.t
	to := c.server(t, nil, 0)
	d, rec := to.documents(t)
	rec.refuse = errLogDown
	err := d.Create(t.Context(), anchor, note("x"))
	want(t, err, call.ErrNotSent)
	want(t, err, errLogDown)
	if n := len(rec.operations()); n > 0 {
		t.Errorf("%d requests were sent", n)
	}
	_, err = d.Read(t.Context(), anchor)
	want(t, err, vault.ErrNotFound)
}

// recordedDocuments: each request has its label, only the writes have
// intents, and no field is in any of it.
func recordedDocuments(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), 0)
	d, rec := to.documents(t)
	hidden := map[string]string{"private_key": "the-private-key-of-the-log"}
	create(t, d, "signing-key", hidden)
	must[map[string]string](t)(d.Read(t.Context(), "signing-key"))
	must[[]string](t)(d.List(t.Context(), "keys"))
	want(t, d.Create(t.Context(), "signing-key", hidden), vault.ErrExists)
	var lines []string
	for i, c := range rec.calls {
		r := rec.results[i]
		lines = append(lines, fmt.Sprintf("%s %t %q %s cas=%d v=%d %d", c.Operation, c.Mutating, c.Project,
			strings.ReplaceAll(c.VaultPath, to.prefix+"-audit", "P"), c.VaultCAS, r.VaultVersion, r.Status))
	}
	expected := []string{
		`vault.write true "" P/signing-key cas=0 v=1 200`,
		`vault.read false "" P/signing-key cas=0 v=1 200`,
		`vault.read false "" P/keys/ cas=0 v=0 404`,
		`vault.write true "" P/signing-key cas=0 v=0 403`,
		`vault.read false ""  cas=0 v=0 200`, // is the login alive?
		`vault.read false "" P/signing-key cas=0 v=1 200`,
	}
	if diff := cmp.Diff(expected, lines); diff != "" {
		t.Error(diff)
	}
	if len(rec.intents) != 2 {
		t.Errorf("%d intents", len(rec.intents))
	}
	if text := rec.text(); strings.Contains(text, hidden["private_key"]) || strings.Contains(text, "cHJpdmF0") {
		t.Error("the private key is recorded")
	}
}

// answers gives the data to every request below a path, and passes all else
// on.
type answers struct{ under, data string }

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, a.under) {
		return http.DefaultTransport.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"data":` + a.data + `}`)), Request: r,
	}, nil
}

// TestDocumentNonsense: a 200 that is not KV's is neither a document nor a
// success.
func TestDocumentNonsense(t *testing.T) {
	t.Parallel()
	says := &answers{under: "/v1/secret/data/"}
	d, _ := memory(t, nil, 0).documents(t, func(c *vault.Config) { c.Base = says })
	for data, expected := range map[string]error{
		`{"data":{"note":"x"},"metadata":{"version":1}}`: nil,
		`{"data":null,"metadata":{"version":1}}`:         vault.ErrRejected,
		`{"data":["x"],"metadata":{"version":1}}`:        vault.ErrRejected,
		`{"data":{"note":"x"}}`:                          vault.ErrRejected,
		`null`:                                           vault.ErrRejected,
	} {
		says.data = data
		fields, err := d.Read(t.Context(), anchor)
		if !errors.Is(err, expected) || (fields != nil) != (err == nil) {
			t.Errorf("%s: %v, %v", data, fields, err)
		}
	}
	for _, data := range []string{`{}`, `null`, `{"version":0}`, `{"version":"one"}`} {
		says.data = data
		err := d.Create(t.Context(), anchor, note("x"))
		want(t, err, vault.ErrStateUnknown)
		want(t, err, vault.ErrUnreachable)
	}
}
