package vault_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rotator/internal/secret"
	"rotator/internal/vault"
)

// contract is one case's test and the kind of server that it runs against.
type contract struct {
	t      *testing.T
	server kind
}

// TestContract runs every case against the in-memory server and the real one.
func TestContract(t *testing.T) {
	t.Parallel()
	cases := map[string]func(contract){
		"check and set":       checkAndSet,
		"nothing there":       nothingThere,
		"confirm":             confirm,
		"metadata":            metadata,
		"version limit":       versionLimit,
		"rewrite":             rewrite,
		"rewrite placeholder": rewritePlaceholder,
		"destroy":             destroy,
		"foreign data":        foreignData,
		"hostile names":       hostileNames,
		"policy":              policy,
		"login expires":       loginExpires,
		"login renewed":       loginRenewed,
		"bad login":           badLogin,
		"lost write":          lostWrite,
		"unusable answers":    unusableAnswers,
		"read repeated":       readRepeated,
		"no intent":           noIntent,
		"records":             records,
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

func checkAndSet(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, nil, 0).open(t)
	p := path(t, s, "billing-api")
	if v := must[int](t)(s.Put(t.Context(), p, data("k1"), 0)); v != 1 {
		t.Errorf("first version is %d", v)
	}
	for _, cas := range []int{0, 2} {
		_, err := s.Put(t.Context(), p, data("k2"), cas)
		want(t, err, vault.ErrCASMismatch)
	}
	if v := must[int](t)(s.Put(t.Context(), p, data("k2"), 1)); v != 2 {
		t.Errorf("second version is %d", v)
	}
	newest := must[vault.Secret](t)(s.Read(t.Context(), p))
	first := must[vault.Secret](t)(s.ReadVersion(t.Context(), p, 1))
	got := []vault.Secret{first, newest}
	expected := []vault.Secret{{Version: 1, Data: data("k1")}, {Version: 2, Data: data("k2")}}
	if d := cmp.Diff(expected, got, sameSecret, cmpopts.IgnoreFields(vault.Secret{}, "CreatedAt"), cmpopts.IgnoreUnexported(vault.Secret{})); d != "" {
		t.Error(d)
	}
	if newest.CreatedAt.IsZero() || newest.CreatedAt.Before(first.CreatedAt) {
		t.Errorf("versions were made at %v and %v", first.CreatedAt, newest.CreatedAt)
	}
	_, err := s.ReadVersion(t.Context(), p, 3)
	want(t, err, vault.ErrNotFound)
}

var sameSecret = cmp.Comparer(func(a, b secret.Value) bool { return a.Equal(b) })

func nothingThere(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	s, _ := to.open(t)
	p := path(t, s, "none")
	_, err := s.Read(t.Context(), p)
	want(t, err, vault.ErrNotFound)
	_, err = s.Metadata(t.Context(), p)
	want(t, err, vault.ErrNotFound)
	if err := s.Destroy(t.Context(), p, []int{1}); err != nil {
		t.Error(err)
	}
	if names := must[[]string](t)(s.List(t.Context(), p)); len(names) > 0 {
		t.Errorf("listed %v", names)
	}
	_, err = s.Put(t.Context(), p, vault.Data{ProjectID: "p1", KeyID: "k"}, 0)
	want(t, err, vault.ErrRejected) // no secret
	want(t, s.Confirm(t.Context(), p, 1, data("k")), vault.ErrNotFound)

	// No mount is not the same as no version: that would call for a first one.
	s, _ = to.open(t, func(c *vault.Config) { c.Mount = "nowhere" })
	_, err = s.Read(t.Context(), p)
	want(t, err, vault.ErrRejected)
}

func confirm(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, nil, 0).open(t)
	p := path(t, s, "c")
	v := must[int](t)(s.Put(t.Context(), p, data("k1"), 0))
	if err := s.Confirm(t.Context(), p, v, data("k1")); err != nil {
		t.Error(err)
	}
	changes := map[string]func(*vault.Data){
		"project": func(d *vault.Data) { d.ProjectID = "p2" }, "key": func(d *vault.Data) { d.KeyID = "k2" },
		"secret": func(d *vault.Data) { d.KeySecret = secret.New("another") }, "rotation": func(d *vault.Data) { d.RotationID = "x" },
		"time": func(d *vault.Data) { d.CreatedAt = d.CreatedAt.Add(time.Millisecond) },
	}
	for name, change := range changes {
		d := data("k1")
		change(&d)
		if err := s.Confirm(t.Context(), p, v, d); err == nil {
			t.Errorf("another %s was confirmed", name)
		} else {
			want(t, err, vault.ErrMismatch)
		}
	}
	must[int](t)(s.Rewrite(t.Context(), p, v)) // the same data, but later
	want(t, s.Confirm(t.Context(), p, v, data("k1")), vault.ErrMismatch)
}

func metadata(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	s, rec := to.open(t)
	p := path(t, s, "meta")
	set := func(custom map[string]string) {
		t.Helper()
		if err := s.SetMetadata(t.Context(), p, custom); err != nil {
			t.Fatal(err)
		}
	}
	set(map[string]string{"managed_by": "rotator", "empty": ""}) // before the first version
	must[int](t)(s.Put(t.Context(), p, data("k1"), 0))
	long := ""
	for range 300 {
		long += "é\x07"
	}
	set(map[string]string{"credential": long})
	rec.forget()
	set(map[string]string{"managed_by": "rotator"})
	if d := cmp.Diff([]string{"vault.read 200"}, rec.operations()); d != "" {
		t.Errorf("setting what is set already: %s", d)
	}
	m := must[vault.Metadata](t)(s.Metadata(t.Context(), p))
	if n := len(m.Custom["credential"]); n < 500 || n > 512 {
		t.Errorf("a long value became %d bytes", n)
	}
	delete(m.Custom, "credential")
	expected := vault.Metadata{
		Current: 1, Oldest: m.Oldest, Custom: map[string]string{"managed_by": "rotator"},
		Versions: []vault.VersionMeta{{Number: 1}},
	}
	if d := cmp.Diff(expected, m, versionFields); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"meta"}, must[[]string](t)(s.List(t.Context(), to.prefix+"/p1/"))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"p1/"}, must[[]string](t)(s.List(t.Context(), to.prefix))); d != "" {
		t.Error(d)
	}
}

var versionFields = cmp.Options{
	cmpopts.IgnoreUnexported(vault.VersionMeta{}), cmpopts.IgnoreFields(vault.VersionMeta{}, "CreatedAt"),
}

func versionLimit(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, nil, 0).open(t)
	p := path(t, s, "many")
	for cas := range 12 {
		must[int](t)(s.Put(t.Context(), p, data("k"), cas))
	}
	m := must[vault.Metadata](t)(s.Metadata(t.Context(), p))
	expected := vault.Metadata{Current: 12, Oldest: 3}
	for n := 3; n <= 12; n++ {
		expected.Versions = append(expected.Versions, vault.VersionMeta{Number: n})
	}
	if d := cmp.Diff(expected, m, versionFields); d != "" {
		t.Error(d)
	}
	_, err := s.ReadVersion(t.Context(), p, 2)
	want(t, err, vault.ErrNotFound)
}

func destroy(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, nil, 0).open(t)
	p := path(t, s, "destroyed")
	for cas := range 3 {
		must[int](t)(s.Put(t.Context(), p, data("k"), cas))
	}
	if err := s.Destroy(t.Context(), p, []int{1, 3, 9}); err != nil {
		t.Fatal(err)
	}
	m := must[vault.Metadata](t)(s.Metadata(t.Context(), p))
	expected := []vault.VersionMeta{{Number: 1, Destroyed: true}, {Number: 2}, {Number: 3, Destroyed: true}}
	if d := cmp.Diff(expected, m.Versions, versionFields); d != "" {
		t.Error(d)
	}
	newest := must[vault.Secret](t)(s.Read(t.Context(), p))
	if !newest.Destroyed || newest.Deleted || newest.Version != 3 || newest.Data.KeyID != "" {
		t.Errorf("newest is %+v", newest)
	}
}

func hostileNames(c contract) {
	t, server := c.t, c.server
	s, _ := server(t, nil, 0).open(t)
	for i, name := range []string{"a..b", "../../x", "Ünïcode", "%2e%2e", "x\x00y", "", "?version=1", "billing-api-0123456789ab", "+", "*"} {
		p := path(t, s, name)
		must[int](t)(s.Put(t.Context(), p, data("k"), 0))
		if got := must[vault.Secret](t)(s.Read(t.Context(), p)); got.Version != 1 {
			t.Errorf("%q (%d) has version %d: two names share a path", name, i, got.Version)
		}
	}
	for _, project := range []string{"", ".", "..", "a/b", "../x", "%2e", "a b", "-", "é"} {
		if p, err := s.Path(project, "x"); err == nil {
			t.Errorf("project %q gave the path %q", project, p)
		}
	}
}
