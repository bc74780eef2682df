package vault_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/vault"
)

func rewrite(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	s, rec := to.open(t)
	p := path(t, s, "moved")
	write(t, to, p, map[string]any{"key_id": "k1", "key_secret": "s", "extra": map[string]any{"n": 1234567890123456789}})
	_, err := s.Rewrite(t.Context(), p, 0)
	want(t, err, vault.ErrCASMismatch)
	if len(rec.intents) > 0 { // what was read may be too old to be written
		t.Errorf("sent %+v", rec.intents)
	}

	rec.forget()
	if v := must[int](t)(s.Rewrite(t.Context(), p, 1)); v != 2 {
		t.Errorf("moved on to version %d", v)
	}
	if d := cmp.Diff([]string{"vault.read 200", "vault.write 200"}, rec.operations()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(read(t, to, p, "1"), read(t, to, p, "2")); d != "" {
		t.Errorf("data changed: %s", d)
	}
	_, err = s.Put(t.Context(), p, data("late"), 1)
	want(t, err, vault.ErrCASMismatch) // which is what a rewrite is for
}

func rewritePlaceholder(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	s, rec := to.open(t)
	p := path(t, s, "empty")
	rec.forget()
	for cas := range 2 { // no version at first, then a deleted one
		if v := must[int](t)(s.Rewrite(t.Context(), p, cas)); v != cas+1 {
			t.Errorf("moved on to version %d", v)
		}
		got := must[vault.Secret](t)(s.Read(t.Context(), p))
		if !got.Deleted || got.Destroyed || got.Version != cas+1 {
			t.Errorf("the path holds %+v", got)
		}
	}
	round := []string{"vault.write 200", "vault.delete 204", "vault.read 404"}
	expected := append(append([]string{"vault.read 404"}, round...), append([]string{"vault.read 404"}, round...)...)
	if d := cmp.Diff(expected, rec.operations()); d != "" {
		t.Error(d)
	}

	// A crash between write and soft-delete leaves the placeholder readable.
	write(t, to, p, map[string]any{"project_id": "p1"})
	if got := must[vault.Secret](t)(s.Read(t.Context(), p)); got.Data.KeyID != "" || got.Deleted {
		t.Errorf("the path holds %+v", got)
	}
	must[int](t)(s.Rewrite(t.Context(), p, 3))
	if got := must[vault.Secret](t)(s.Read(t.Context(), p)); !got.Deleted || got.Version != 4 {
		t.Errorf("the path holds %+v", got)
	}
}

func foreignData(c contract) {
	t, server := c.t, c.server
	to := server(t, nil, 0)
	s, _ := to.open(t)
	for name, c := range map[string]struct {
		fields map[string]any
		want   vault.Secret
	}{
		"empty":  {map[string]any{}, vault.Secret{}},
		"others": {map[string]any{"user": "u", "a": 1}, vault.Secret{Other: []string{"a", "user"}}},
		"kinds": {
			map[string]any{"key_id": 7, "key_secret": nil, "created_at": "yesterday", "rotation_id": []any{"x"}, "project_id": "p"},
			vault.Secret{Data: vault.Data{ProjectID: "p"}, Other: []string{"created_at", "key_id", "key_secret", "rotation_id"}},
		},
	} {
		p := path(t, s, name)
		write(t, to, p, c.fields)
		got := must[vault.Secret](t)(s.Read(t.Context(), p))
		if d := cmp.Diff(c.want.Other, got.Other); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if d := cmp.Diff(c.want.Data, got.Data, sameSecret); d != "" || got.Deleted || got.Destroyed {
			t.Errorf("%s: %+v %s", name, got, d)
		}
	}
}

// write writes a path behind rotator's back.
func write(t *testing.T, to target, path string, fields map[string]any) {
	t.Helper()
	_, err := to.admin(t).Logical().WriteWithContext(t.Context(), "secret/data/"+path, map[string]any{"data": fields})
	if err != nil {
		t.Fatal(err)
	}
}

// read reads a version behind rotator's back.
func read(t *testing.T, to target, path, version string) any {
	t.Helper()
	answer, err := to.admin(t).Logical().ReadWithDataWithContext(t.Context(), "secret/data/"+path, map[string][]string{"version": {version}})
	if err != nil || answer == nil {
		t.Fatalf("reading version %s: %v", version, err)
	}
	return answer.Data["data"]
}
