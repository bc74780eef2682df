package vault_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/vault"
)

// listing: folder by folder, under the shipped policy.
func listing(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	d, rec := to.documents(t)
	if names := must[[]string](t)(d.List(t.Context(), "checkpoints")); len(names) > 0 {
		t.Errorf("listed %v", names)
	}
	for _, path := range []string{
		"2/2026-03-05/0000000000000010", "2/2026-03-05/0000000000000009", "2/2026-03-04/0000000000000100", "10/2026-03-06/0000000000000001",
	} {
		create(t, d, "checkpoints/"+path, note("x"))
	}
	create(t, d, "keys/0123abcd", note("x"))
	rec.forget()
	tests := map[string][]string{
		"keys":                      {"0123abcd"},
		"checkpoints":               {"10/", "2/"},
		"checkpoints/":              {"10/", "2/"},
		"checkpoints/2":             {"2026-03-04/", "2026-03-05/"},
		"checkpoints/2/2026-03-05":  {"0000000000000009", "0000000000000010"},
		"checkpoints/2/2026-03-05/": {"0000000000000009", "0000000000000010"},
		"checkpoints/3":             nil,
		// A document is no folder.
		"checkpoints/2/2026-03-05/0000000000000009": nil,
	}
	for folder, expected := range tests {
		if got := must[[]string](t)(d.List(t.Context(), folder)); !slices.Equal(got, expected) {
			t.Errorf("%s: listed %q, want %q", folder, got, expected)
		}
	}
	if n := len(rec.operations()); n != len(tests) || len(rec.intents) > 0 {
		t.Errorf("%d lists took %d requests and %d intents", len(tests), n, len(rec.intents))
	}
	_, err := d.List(t.Context(), "") // the daemon has no business there
	want(t, err, vault.ErrDenied)
	if hint := `path "secret/metadata/` + to.prefix + `-audit/" { capabilities = ["list"] }`; err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("%v does not say %s", err, hint)
	}

	to.auth = vault.Auth{Token: to.root}
	d, _ = to.documents(t)
	if got := must[[]string](t)(d.List(t.Context(), "")); !slices.Equal(got, []string{"checkpoints/", "keys/"}) {
		t.Errorf("the prefix holds %q", got)
	}
}

// listingRules: which rule of a policy governs a list.
func listingRules(c contract) {
	t := c.t
	const folder = "secret/metadata/%s-audit/keys"
	list, read := []string{"list"}, []string{"read"}
	for name, test := range map[string]struct {
		rules []rule
		want  error
	}{
		"without its slash":                {[]rule{{folder, list}}, nil},
		"with its slash":                   {[]rule{{folder + "/", list}}, nil},
		"all below":                        {[]rule{{folder + "/*", list}}, nil},
		"all that begins alike":            {[]rule{{"secret/metadata/%s-audit/k*", list}}, nil},
		"another":                          {[]rule{{folder + "/x*", list}, {"secret/metadata/%s-audit/keysx", list}}, vault.ErrDenied},
		"the folder before the prefix":     {[]rule{{"secret/metadata/%s-audit/*", list}, {folder, read}}, vault.ErrDenied},
		"the longer prefix":                {[]rule{{"secret/metadata/%s-audit/*", read}, {"secret/metadata/%s-audit/ke*", list}}, nil},
		"with its slash before without":    {[]rule{{folder + "/", list}, {folder, read}}, nil},
		"a prefix for it without a slash":  {[]rule{{folder + "*", read}, {folder + "/*", list}}, vault.ErrDenied},
		"the folder before a longer match": {[]rule{{folder, list}, {folder + "*", read}}, nil},
	} {
		d, _ := c.server(t, test.rules, time.Minute).documents(t)
		if _, err := d.List(t.Context(), "keys"); (test.want == nil) != (err == nil) {
			t.Errorf("%s: error is %v, want %v", name, err, test.want)
		} else if err != nil {
			want(t, err, test.want)
		}
	}
}

// aDayOfNames: a checkpoint a minute makes one list of 1,440.
func aDayOfNames(c contract) {
	t := c.t
	to := c.server(t, nil, 0)
	d, _ := to.documents(t)
	var expected []string
	for n := range 1440 {
		name := fmt.Sprintf("%016d", n*97)
		expected = append(expected, name)
		write(t, to, to.prefix+"-audit/checkpoints/1/2026-03-04/"+name, map[string]any{"note": "x"})
	}
	if diff := cmp.Diff(expected, must[[]string](t)(d.List(t.Context(), "checkpoints/1/2026-03-04"))); diff != "" {
		t.Error(diff)
	}
}

// longList answers lists with n names of 16 digits, the last first, and passes
// all else on.
type longList struct{ n int }

func (l *longList) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("list") != "true" {
		return http.DefaultTransport.RoundTrip(r)
	}
	var names strings.Builder
	for n := l.n; n > 0; n-- {
		fmt.Fprintf(&names, `"%016d",`, n)
	}
	body := `{"request_id":"6c7e5a3c-0000-0000-0000-000000000000","lease_id":"","renewable":false,"lease_duration":0,"data":{"keys":[` +
		strings.TrimSuffix(names.String(), ",") + `]},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}` + "\n"
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// TestListLimit: a folder may hold 55,000 checkpoints; more is an error, never
// a part of them.
func TestListLimit(t *testing.T) {
	t.Parallel()
	long := &longList{n: 55_000}
	d, _ := memory(t, nil, 0).documents(t, func(c *vault.Config) { c.Base = long })
	names := must[[]string](t)(d.List(t.Context(), "checkpoints/1/2026-03-04"))
	if len(names) != long.n || !slices.IsSorted(names) || names[0] != "0000000000000001" {
		t.Errorf("listed %d names, sorted: %t", len(names), slices.IsSorted(names))
	}
	long.n = 56_000
	names, err := d.List(t.Context(), "checkpoints/1/2026-03-04")
	want(t, err, vault.ErrUnreachable)
	if len(names) > 0 || err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("listed %d names, %v", len(names), err)
	}
}
