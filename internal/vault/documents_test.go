package vault_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/vault"
)

// TestDocuments runs every case against the in-memory server and the real
// one, under the policy that deploy/vault ships where the case says nothing
// else.
func TestDocuments(t *testing.T) {
	t.Parallel()
	cases := map[string]func(contract){
		"written once":      writtenOnce,
		"one of many":       oneOfMany,
		"nothing there":     noDocument,
		"older versions":    olderVersions,
		"gone versions":     goneVersions,
		"foreign fields":    foreignFields,
		"listing":           listing,
		"a day of names":    aDayOfNames,
		"rules for lists":   listingRules,
		"attacks":           attacksDenied,
		"too little policy": tooLittlePolicy,
		"hostile paths":     hostilePaths,
		"lost create":       lostCreate,
		"blind after a 403": blindAfterRefusal,
		"unrecorded":        unrecordedCreate,
		"recorded":          recordedDocuments,
	}
	for _, server := range []struct {
		name string
		make kind
	}{{"memory", memory}, {"real", realServer}} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			for name, run := range cases {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					run(contract{t, server.make})
				})
			}
		})
	}
}

var policyPath = regexp.MustCompile(`(?m)^path "([^"]+)" \{\n  capabilities = \[(.+)\]\n\}$`)

// shippedRules is deploy/vault/rotator.hcl, with the test's own prefixes.
func shippedRules(t *testing.T) []rule {
	t.Helper()
	text := shippedPolicy(t)
	var rules []rule
	for _, m := range policyPath.FindAllStringSubmatch(text, -1) {
		path := strings.NewReplacer("/sinch/", "/%s/", "/rotator-audit/", "/%s-audit/").Replace(m[1])
		rules = append(rules, rule{path, strings.Split(strings.Trim(m[2], `"`), `", "`)})
	}
	if n := strings.Count(text, "\npath "); n != len(rules) || n == 0 {
		t.Fatalf("%d of the policy's %d paths were understood", len(rules), n)
	}
	return rules
}

func shippedPolicy(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/vault/rotator.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents opens the target's documents.
func (to target) documents(t *testing.T, change ...func(*vault.Config)) (*vault.Documents, *recorder) {
	t.Helper()
	s, rec := to.open(t, change...)
	d, err := s.Documents(to.prefix + "-audit")
	if err != nil {
		t.Fatal(err)
	}
	rec.forget()
	return d, rec
}

const anchor = "checkpoints/1/2026-03-04/0000000000001234"

func note(text string) map[string]string {
	return map[string]string{"note": text, "frontier": ""}
}

func create(t *testing.T, d *vault.Documents, path string, fields map[string]string) {
	t.Helper()
	if err := d.Create(t.Context(), path, fields); err != nil {
		t.Fatal(err)
	}
}

// writtenOnce: the second is told so, whether check-and-set (a login with all
// rights) or the policy (ours) stops it, and changes nothing.
func writtenOnce(c contract) {
	t := c.t
	for name, test := range map[string]struct {
		rules   []rule
		refusal []string
	}{
		"all rights": {nil, []string{"vault.write 400"}},
		"shipped":    {shippedRules(t), []string{"vault.write 403", "vault.read 200", "vault.read 200"}}, // the first read looks at the token
	} {
		d, rec := c.server(t, test.rules, time.Minute).documents(t)
		for _, path := range []string{anchor, "keys/0123abcd", "signing-key"} {
			create(t, d, path, note("first"))
			rec.forget()
			err := d.Create(t.Context(), path, note("second"))
			want(t, err, vault.ErrExists)
			if errors.Is(err, vault.ErrDenied) || errors.Is(err, vault.ErrCASMismatch) {
				t.Errorf("%s: %v is two things at once", name, err)
			}
			if diff := cmp.Diff(test.refusal, rec.operations()); diff != "" {
				t.Errorf("%s: %s: %s", name, path, diff)
			}
			if diff := cmp.Diff(note("first"), must[map[string]string](t)(d.Read(t.Context(), path))); diff != "" {
				t.Errorf("%s: %s: %s", name, path, diff)
			}
			if n := must[int](t)(d.Versions(t.Context(), path)); n != 1 {
				t.Errorf("%s: %s has %d versions", name, path, n)
			}
		}
	}
}

// oneOfMany: of many writers at once one succeeds, and all others know.
func oneOfMany(c contract) {
	t := c.t
	for _, rules := range [][]rule{nil, shippedRules(t)} {
		d, _ := c.server(t, rules, time.Minute).documents(t)
		var group sync.WaitGroup
		results := make(chan error, 8)
		for n := range cap(results) {
			group.Go(func() { results <- d.Create(t.Context(), anchor, note(fmt.Sprint(n))) })
		}
		group.Wait()
		close(results)
		won := 0
		for err := range results {
			if err == nil {
				won++
				continue
			}
			want(t, err, vault.ErrExists)
		}
		if won != 1 {
			t.Errorf("%d writers of one document succeeded", won)
		}
	}
}

func noDocument(c contract) {
	t := c.t
	to := c.server(t, nil, 0)
	d, _ := to.documents(t)
	_, err := d.Read(t.Context(), anchor)
	want(t, err, vault.ErrNotFound)
	_, err = d.Versions(t.Context(), anchor)
	want(t, err, vault.ErrNotFound)
	_, err = d.ReadVersion(t.Context(), anchor, 1)
	want(t, err, vault.ErrNotFound)
	want(t, d.Create(t.Context(), anchor, nil), vault.ErrRejected)

	// No mount is not the same as no documents.
	d, _ = to.documents(t, func(c *vault.Config) { c.Mount = "nowhere" })
	_, err = d.Read(t.Context(), anchor)
	want(t, err, vault.ErrRejected)
	_, err = d.List(t.Context(), "checkpoints")
	want(t, err, vault.ErrRejected)
}

// olderVersions: a person has replaced the signing key; ours can count down
// from the newest version under the shipped policy.
func olderVersions(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	d, _ := to.documents(t)
	create(t, d, "signing-key", note("1"))
	for _, text := range []string{"2", "3"} {
		write(t, to, to.prefix+"-audit/signing-key", map[string]any{"note": text, "frontier": ""})
	}
	destroyVersion(t, to, "destroy", "signing-key", 2)
	var got []string
	for n := must[int](t)(d.Versions(t.Context(), "signing-key")); n > 0; n-- {
		fields, err := d.ReadVersion(t.Context(), "signing-key", n)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fields["note"])
	}
	if diff := cmp.Diff([]string{"3", "1"}, got); diff != "" {
		t.Error(diff)
	}
	for _, newest := range []func() (map[string]string, error){
		func() (map[string]string, error) { return d.Read(t.Context(), "signing-key") },
		func() (map[string]string, error) { return d.ReadVersion(t.Context(), "signing-key", 0) },
	} {
		if fields := must[map[string]string](t)(newest()); fields["note"] != "3" {
			t.Errorf("the newest version is %v", fields)
		}
	}
	_, err := d.ReadVersion(t.Context(), "signing-key", 4)
	want(t, err, vault.ErrNotFound)
	_, err = d.ReadVersion(t.Context(), "signing-key", -1)
	want(t, err, vault.ErrRejected)
}

// destroyVersion removes a version behind rotator's back; how is "delete" or
// "destroy".
func destroyVersion(t *testing.T, to target, how, path string, n int) {
	t.Helper()
	_, err := to.admin(t).Logical().WriteWithContext(t.Context(), "secret/"+how+"/"+to.prefix+"-audit/"+path, map[string]any{"versions": []int{n}})
	if err != nil {
		t.Fatal(err)
	}
}

// goneVersions: what an administrator has removed is not there, says why, and
// still keeps its place.
func goneVersions(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	d, _ := to.documents(t)
	for how, word := range map[string]string{"delete": "version 1 has been deleted", "destroy": "version 1 has been destroyed"} {
		path := "keys/" + how
		create(t, d, path, note("x"))
		destroyVersion(t, to, how, path, 1)
		_, err := d.Read(t.Context(), path)
		want(t, err, vault.ErrNotFound)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
		if n := must[int](t)(d.Versions(t.Context(), path)); n != 1 {
			t.Errorf("%s: the newest version is %d", path, n)
		}
		want(t, d.Create(t.Context(), path, note("again")), vault.ErrExists)
	}
}

func foreignFields(c contract) {
	t := c.t
	to := c.server(t, nil, 0)
	d, _ := to.documents(t)
	for name, value := range map[string]any{"number": 7, "null": nil, "list": []any{"x"}, "map": map[string]any{}, "bool": true} {
		write(t, to, to.prefix+"-audit/keys/"+name, map[string]any{"a": "text", "note": value})
		fields, err := d.Read(t.Context(), "keys/"+name)
		want(t, err, vault.ErrRejected)
		if err == nil || !strings.Contains(err.Error(), `"note"`) || fields != nil {
			t.Errorf("%s: %v, %v", name, fields, err)
		}
	}
	write(t, to, to.prefix+"-audit/keys/empty", map[string]any{})
	if fields := must[map[string]string](t)(d.Read(t.Context(), "keys/empty")); len(fields) > 0 {
		t.Errorf("read %v", fields)
	}
}

// tooLittlePolicy: a refusal by the policy is told from a path that is taken,
// and names the line that is missing.
func tooLittlePolicy(c contract) {
	t := c.t
	const data = "secret/data/%s-audit/*"
	for name, test := range map[string]struct {
		rules           []rule
		onNew, onExists error
	}{
		"none":   {[]rule{{"secret/data/%s/*", []string{"create", "read", "update"}}}, vault.ErrDenied, vault.ErrDenied},
		"read":   {[]rule{{data, []string{"read"}}}, vault.ErrDenied, vault.ErrExists},
		"create": {[]rule{{data, []string{"create"}}}, nil, vault.ErrDenied}, // blind: it cannot say what is there
		"update": {[]rule{{data, []string{"update", "read"}}}, vault.ErrDenied, vault.ErrExists},
	} {
		to := c.server(t, test.rules, time.Minute)
		d, _ := to.documents(t)
		write(t, to, to.prefix+"-audit/keys/taken", map[string]any{"note": "x"})
		for path, expected := range map[string]error{"keys/new": test.onNew, "keys/taken": test.onExists} {
			err := d.Create(t.Context(), path, note("y"))
			if !errors.Is(err, expected) || errors.Is(err, vault.ErrExists) != (expected == vault.ErrExists) { //nolint:errorlint // the table's own value
				t.Errorf("%s: %s: error is %v, want %v", name, path, err, expected)
			}
			hint := `path "secret/data/` + to.prefix + `-audit/` + path + `" { capabilities = ["create", "read"] }`
			if errors.Is(err, vault.ErrDenied) && !strings.Contains(err.Error(), hint) {
				t.Errorf("%s: %v does not say %s", name, err, hint)
			}
		}
		if got := read(t, to, to.prefix+"-audit/keys/taken", "0"); !cmp.Equal(got, any(map[string]any{"note": "x"})) {
			t.Errorf("%s: the document became %v", name, got)
		}
	}
}

// hostilePaths: what is no plain path is not sent.
func hostilePaths(c contract) {
	t := c.t
	to := c.server(t, nil, 0)
	proxy := to.behind(t)
	s, _ := to.open(t)
	for _, prefix := range []string{"", "/", "a//b", "../sinch", "a/..", "a b", "%2e", "é"} {
		_, err := s.Documents(prefix)
		want(t, err, vault.ErrConfig)
	}
	d := must[*vault.Documents](t)(s.Documents("/" + to.prefix + "-audit/"))
	before := len(proxy.Seen())
	for _, path := range []string{"/", "/keys", "a//b", "../x", "keys/..", "keys/./x", "a b", "%2e%2e/x", "x?version=1", "x\x00", "é", "-x"} {
		want(t, d.Create(t.Context(), path, note("x")), vault.ErrRejected)
		_, err := d.Read(t.Context(), path)
		want(t, err, vault.ErrRejected)
		_, err = d.Versions(t.Context(), path)
		want(t, err, vault.ErrRejected)
		if path != "/" { // as a folder this is the prefix
			_, err = d.List(t.Context(), path)
			want(t, err, vault.ErrRejected)
		}
	}
	want(t, d.Create(t.Context(), "keys/", note("x")), vault.ErrRejected)
	want(t, d.Create(t.Context(), "", note("x")), vault.ErrRejected)
	if n := len(proxy.Seen()) - before; n > 0 {
		t.Errorf("%d requests were sent", n)
	}
	create(t, d, "keys/0123abcd", note("x"))
	if last := proxy.Seen()[before].URL.Path; last != "/v1/secret/data/"+to.prefix+"-audit/keys/0123abcd" {
		t.Errorf("created %s", last)
	}
}
