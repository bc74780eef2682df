package rig

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault"
)

// Credential is a name in a project.
type Credential struct{ Project, Name string }

// Made is a key that a rotation of this installation has made, or so its name
// says.
type Made struct {
	sinchtest.Issued
	Rotation string
	Created  time.Time
}

// Key makes a key of the given age as rotator would have.
func (w *World) Key(project, name string, age time.Duration) Made {
	w.T.Helper()
	created := time.Now().Add(-age)
	id, err := rotation.NewID(created, rand.Reader)
	if err != nil {
		w.T.Fatal(err)
	}
	return Made{w.Sim.AddKey(project, rotation.DisplayName(name, id), created), id, created}
}

// Publish writes keys to a credential's path, one version each, as rotator
// would have.
func (w *World) Publish(project, name string, keys ...Made) {
	w.T.Helper()
	err := w.Vault.KVv2("secret").PutMetadata(w.T.Context(), w.Path(project, name), api.KVMetadataPutInput{
		CustomMetadata: map[string]any{"managed_by": "rotator", "credential": name, "display_name": name},
	})
	if err != nil {
		w.T.Fatal(err)
	}
	for i, k := range keys {
		w.Put(project, name, k, i)
	}
	w.Credentials = append(w.Credentials, Credential{project, name})
}

// Put writes a key to a credential's path, whose newest version is cas.
func (w *World) Put(project, name string, k Made, cas int) {
	w.T.Helper()
	_, err := w.Vault.KVv2("secret").Put(w.T.Context(), w.Path(project, name), map[string]any{
		"project_id": project, "key_id": k.KeyID, "key_secret": k.Secret,
		"created_at": k.Created.UTC().Format(time.RFC3339Nano), "rotation_id": k.Rotation,
	}, api.WithCheckAndSet(cas))
	if err != nil {
		w.T.Fatal(err)
	}
}

// Path is where a credential lives, below the mount.
func (w *World) Path(project, name string) string {
	return w.Prefix + "/" + project + "/" + vault.Component(name)
}

// Named returns what the newest version of a path names: nothing if there is
// no such version or it has been deleted.
func (w *World) Named(path string) (version int, key, secret string, err error) {
	v, err := w.Vault.KVv2("secret").Get(w.T.Context(), path)
	if errors.Is(err, api.ErrSecretNotFound) {
		return 0, "", "", nil
	}
	if err != nil {
		return 0, "", "", err //nolint:wrapcheck // callers say which path it was
	}
	key, _ = v.Data["key_id"].(string)
	secret, _ = v.Data["key_secret"].(string)
	return v.VersionMetadata.Version, key, secret, nil
}

// Due makes a project whose only key has to be replaced, and returns that.
func (w *World) Due(project string) Made {
	w.T.Helper()
	w.Sim.AddSubproject(Parent, project, project, nil)
	k := w.Key(project, "billing", 100*Day)
	w.Publish(project, "billing", k)
	return k
}

// Past makes a project with a key whose overlap has passed.
func (w *World) Past(project string) {
	w.T.Helper()
	const overlap = time.Second
	w.Sim.AddSubproject(Parent, project, project, map[string]string{rotation.OverlapLabel: overlap.String()})
	w.Publish(project, "mail", w.Key(project, "mail", 50*Day), w.Key(project, "mail", 10*Day))
	time.Sleep(overlap + 100*time.Millisecond)
}

// projects are the parent and its subprojects.
func (w *World) projects() []string { return append(w.Sim.Subprojects(Parent), Parent) }
