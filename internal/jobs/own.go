package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/vault"
)

// selfAt says where rotator's own key is: its project and credential. Both
// are empty when it is not known.
type selfAt struct{ project, credential string }

// settingSelf is the setting that remembers selfAt, as "project/credential".
const settingSelf = "self"

// ErrNoIdentity means that there is no access key to authenticate with.
var ErrNoIdentity = errors.New("there is no access key to authenticate with: set SINCH_KEY_ID and SINCH_KEY_SECRET, the bootstrap credential; once rotator has rotated its own key, or ROTATOR_SELF names it, Vault's copy is enough")

// adoptOwn finds out which credential is rotator's own, and moves on to the
// key that Vault holds for it if that is another than the one in use. The
// environment's key is the bootstrap only. It reports whether what it found
// is not on record yet.
func (r *Runner) adoptOwn(ctx context.Context) (self selfAt, fresh bool, err error) {
	self, err = r.knownSelf(ctx)
	if err != nil {
		return self, false, err
	}
	if self.credential != "" {
		if err := r.followVault(ctx, self); err != nil {
			return self, false, err
		}
	}
	if r.Identity.KeyID() == "" {
		return self, false, ErrNoIdentity
	}
	if self.credential == "" {
		if self, err = r.searchSelf(ctx); err != nil {
			return self, false, err
		}
		fresh = self.credential != ""
	}
	return self, fresh, r.beat(ctx)
}

// knownSelf is what the configuration or the database says.
func (r *Runner) knownSelf(ctx context.Context) (selfAt, error) {
	if r.Self != "" {
		return selfAt{r.Parent, r.Self}, nil
	}
	known, err := r.State.Setting(ctx, settingSelf)
	if err != nil {
		return selfAt{}, err //nolint:wrapcheck // state says what it was doing
	}
	project, cred, _ := strings.Cut(known, "/")
	return selfAt{project, cred}, nil
}

// searchSelf asks the parent for the key in use. A key of another project is
// not found: it is guarded by its id alone.
func (r *Runner) searchSelf(ctx context.Context) (selfAt, error) {
	key, err := r.Keys.GetKey(ctx, r.Parent, r.Identity.KeyID())
	if errors.Is(err, sinch.ErrNotFound) || errors.Is(err, sinch.ErrForbidden) {
		return selfAt{}, nil
	}
	if err != nil {
		return selfAt{}, fmt.Errorf("looking up rotator's own key: %w", err)
	}
	name := rotation.ParseName(key.DisplayName).Credential
	if !r.Scope.Contains(rotation.Project{ID: r.Parent}, name) {
		return selfAt{}, nil
	}
	return selfAt{r.Parent, name}, nil
}

// remember records which credential is rotator's own, at its first use.
func (r *Runner) remember(ctx context.Context, self selfAt) error {
	return r.State.SetSetting(ctx, settingSelf, self.project+"/"+self.credential) //nolint:wrapcheck // state says what it was doing
}

// followVault switches to the key that Vault holds for rotator itself, once
// that key has listed the project's keys.
func (r *Runner) followVault(ctx context.Context, self selfAt) error {
	path, err := r.Secrets.Path(self.project, self.credential)
	if err != nil {
		return fmt.Errorf("rotator's own credential (ROTATOR_SELF): %w", err)
	}
	seen, err := r.Secrets.Read(ctx, path)
	if errors.Is(err, vault.ErrNotFound) || err == nil && (seen.Data.KeyID == "" || seen.Data.KeyID == r.Identity.KeyID()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading rotator's own key from Vault: %w", err)
	}
	err = r.use(ctx, self.project, sinch.Credentials{KeyID: seen.Data.KeyID, Secret: seen.Data.KeySecret})
	if errors.Is(err, sinch.ErrPermanent) && r.Identity.KeyID() != "" {
		r.Logger.WarnContext(ctx, "Vault's copy of rotator's own key is refused, going on with the one in use", "err", Message(err))
		return nil
	}
	return err
}

// use switches this process to other credentials, after they have proven
// that they can do the work.
func (r *Runner) use(ctx context.Context, project string, own sinch.Credentials) error {
	if err := r.Identity.ListOwn(ctx, project, own); err != nil {
		return fmt.Errorf("switching to rotator's own new key %s: %w", own.KeyID, err)
	}
	r.Identity.Use(own)
	r.Logger.InfoContext(ctx, "now using another key of rotator's own", "key", own.KeyID)
	return r.beat(ctx)
}

// beat says in the database which key this process uses. The rate limits are
// the installation's: each live process takes its share.
func (r *Runner) beat(ctx context.Context) error {
	alive, err := r.State.Beat(ctx, r.Process, r.Host, r.Identity.KeyID(), rowLife*r.Lease)
	if err != nil {
		return err //nolint:wrapcheck // state says what it was doing
	}
	r.Identity.Share(alive)
	return nil
}

// keepUp moves on to the key that another process has published for rotator
// itself, so that the old one can go before this process begins its next run.
func (r *Runner) keepUp(ctx context.Context) error {
	self, err := r.knownSelf(ctx)
	if err != nil || self.credential == "" {
		return err
	}
	current, err := r.State.CurrentKey(ctx, self.project, self.credential)
	if err != nil || current == "" || current == r.Identity.KeyID() {
		return err //nolint:wrapcheck // state says what it was doing
	}
	return r.followVault(ctx, self)
}

// movedOn waits, in the answer to a compromise of rotator's own key, until no
// other process uses it: at most as long as the row of a silent one lives. It
// reports whether that is so.
func (w *work) movedOn(ctx context.Context, key string) bool {
	w.Logger.InfoContext(ctx, "waiting until no other process uses rotator's own old key", "key", key)
	for deadline := time.Now().Add(rowLife * w.Lease); !w.stopping() && time.Now().Before(deadline); {
		if err := wait(ctx, min(time.Second, w.Lease/3)); err != nil {
			return false
		}
		if used, err := w.State.OwnKeys(ctx); err == nil && !used[key] && w.Identity.KeyID() != key {
			return true
		}
	}
	return false
}

// rowLife is for how many leases the row of a silent process says which key it
// uses: a process that was stopped for a while must not lose its key at once.
const rowLife = 2

// beating renews the process's row until silence is called.
func (r *Runner) beating(ctx context.Context) (silence func()) {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for wait(ctx, r.Lease/2) == nil {
			if err := r.beat(ctx); err != nil && ctx.Err() == nil {
				r.Logger.WarnContext(ctx, "process row not renewed", "err", Message(err))
			}
			if err := r.keepUp(ctx); err != nil && ctx.Err() == nil {
				r.Logger.WarnContext(ctx, "rotator's own key not looked up", "err", Message(err))
			}
		}
	}()
	return func() { cancel(); <-stopped }
}

// switchOwn moves this process on to the key that it has just published for
// itself.
func (w *work) switchOwn(ctx context.Context, v *view, a *attempt) error {
	if v.SelfName == "" || a.step.Credential != v.SelfName {
		return nil
	}
	err := w.use(ctx, w.lease.Project.ID, sinch.Credentials{KeyID: a.key.ID, Secret: a.secret})
	if err != nil {
		return failedAt("switch", err)
	}
	return nil
}
