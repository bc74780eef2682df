package machine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"pgregory.net/rapid"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
)

// runLimit is far more than a run takes; one that takes longer hangs.
const runLimit = 2 * time.Minute

// timePasses moves all clocks.
func (w *world) timePasses(rt *rapid.T) {
	w.advance(rt, rapid.SampledFrom([]time.Duration{
		5 * time.Minute, time.Hour, 13 * time.Hour, 2 * day, 6 * day, 15 * day, 40 * day,
	}).Draw(rt, "how long"))
}

func (w *world) advance(rt *rapid.T, d time.Duration) {
	w.offset.Add(int64(d))
	_, err := w.db.Exec(w.ctx, `UPDATE fake.clock SET ahead = make_interval(secs => $1)`, time.Duration(w.offset.Load()).Seconds())
	must(rt, err)
}

// run does one run; the error is the run's own.
func (w *world) run(rt *rapid.T, o jobs.Order) (*jobs.Report, error) {
	p := w.process(rt)
	ctx, cancel := context.WithTimeout(p.ctx, runLimit)
	defer cancel()
	o.Trigger = cmp.Or(o.Trigger, rotation.Scheduled)
	r, err := p.runner.Run(ctx, o)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		rt.Fatalf("the run hung: %v", err)
	}
	if r != nil {
		w.tally.rotated.Add(int64(r.Rotated))
		w.tally.deleted.Add(int64(r.Retired + r.OrphansDeleted))
		w.tally.orphans.Add(int64(r.OrphansDeleted))
		if r.Failed > 0 {
			w.tally.failed.Add(1)
		}
		rt.Logf("rotated %d, retired %d, orphans %d, refused %d, failed %d, skipped %d (%v)",
			r.Rotated, r.Retired, r.OrphansDeleted, r.Refused, r.Failed, r.Skipped, err)
	}
	return r, err
}

// calm does a run that nothing disturbs, which must be able to work.
func (w *world) calm(rt *rapid.T, o jobs.Order) *jobs.Report {
	r, err := w.run(rt, o)
	if err != nil {
		rt.Fatalf("an undisturbed run: %v", err)
	}
	return r
}

func (w *world) plainRun(rt *rapid.T) {
	w.calm(rt, jobs.Order{Due: rapid.Bool().Draw(rt, "due only")})
}

func (w *world) askedRun(rt *rapid.T) { w.calm(rt, w.drawAsked(rt)) }

// drawAsked is what a person may ask for: one key's credential to be rotated
// or declared compromised.
func (w *world) drawAsked(rt *rapid.T) jobs.Order {
	project := w.drawProject(rt)
	o := jobs.Order{Trigger: rotation.Manual, Reason: "asked for", Projects: []string{project}}
	o.Request.Force = true
	if rapid.Bool().Draw(rt, "compromised") {
		o.Trigger, o.Request.Force, o.Request.Compromised = rotation.Compromised, false, true
	}
	n := rapid.IntRange(0, 9).Draw(rt, "which key")
	if keys := w.sim.Keys(project); len(keys) > 0 {
		o.Request.Key = keys[n%len(keys)].ID
	}
	return o
}

// drawProject draws the same whatever the world is like, so that a story can
// be shortened.
func (w *world) drawProject(rt *rapid.T) string {
	all := w.projects()
	return all[rapid.IntRange(0, 59).Draw(rt, "project")%len(all)]
}

var operations = []string{
	"access_keys.create", "access_keys.create", "access_keys.delete", "access_keys.delete", "access_keys.update",
	"access_keys.list", "access_keys.get", "token.exchange", "subprojects.list", "",
}

var behaviours = map[string]sinchtest.Behaviour{
	"lost": sinchtest.Lost(), "applied lost": sinchtest.AppliedLost(), "500": sinchtest.Status(500),
	"applied 500": sinchtest.AppliedStatus(500), "applied 503": sinchtest.AppliedStatus(503), "403": sinchtest.Status(403),
	"404": sinchtest.Status(404), "409": sinchtest.Status(409), "401": sinchtest.Status(401), "429": sinchtest.RateLimited("0"),
	"redirect": sinchtest.AppliedAnswer(307, "", http.Header{"Location": {"/"}}), "cut": sinchtest.CutBody(), "not json": sinchtest.NotJSON(),
	"empty": sinchtest.EmptyObject(), "unknown fields": sinchtest.UnknownFields(), "expired": sinchtest.ExpireTokens(),
	"dropped items": sinchtest.DropItems(1), "empty page": sinchtest.EmptyPage(), "repeated token": sinchtest.RepeatToken(),
	"shuffled": sinchtest.Shuffle(1), "late": sinchtest.AppliedDelay(20 * time.Millisecond),
}

// faultyRun runs while Sinch misbehaves once or twice.
func (w *world) faultyRun(rt *rapid.T) {
	names := make([]string, 0, len(behaviours))
	for name := range behaviours {
		names = append(names, name)
	}
	slices.Sort(names)
	remove := w.sim.Fault(sinchtest.Fault{
		Operation: rapid.SampledFrom(operations).Draw(rt, "operation"),
		After:     rapid.IntRange(0, 4).Draw(rt, "after"), Times: rapid.IntRange(1, 2).Draw(rt, "times"),
		Do: behaviours[rapid.SampledFrom(names).Draw(rt, "behaviour")],
	})
	defer remove()
	_, _ = w.run(rt, w.drawOrder(rt)) // it may well find nothing that it can do
}

// drawOrder is a plain run as often as not.
func (w *world) drawOrder(rt *rapid.T) jobs.Order {
	if o := w.drawAsked(rt); rapid.Bool().Draw(rt, "asked") {
		return o
	}
	return jobs.Order{}
}

// faultyVault runs while Vault misbehaves once.
func (w *world) faultyVault(rt *rapid.T) {
	p := w.process(rt)
	p.vaultSeen.Store(0)
	p.vaultFault.Store(&vaultFault{
		at:   int64(rapid.IntRange(1, 40).Draw(rt, "request")),
		kind: rapid.SampledFrom([]string{"not applied", "unanswered", "500"}).Draw(rt, "kind"),
	})
	defer p.vaultFault.Store(nil)
	_, _ = w.run(rt, w.drawOrder(rt))
}

// killedRun ends the process at a random event of a run.
func (w *world) killedRun(rt *rapid.T) {
	p := w.process(rt)
	p.killAt.Store(p.events.Load() + int64(rapid.IntRange(1, 250).Draw(rt, "event")))
	w.kill(rt, p, w.drawOrder(rt))
}

// killedRotation ends the process between a create and the end of its
// rotation, where orphans come from.
func (w *world) killedRotation(rt *rapid.T) {
	p := w.process(rt)
	p.create.Store(int64(rapid.IntRange(1, 40).Draw(rt, "event")))
	w.kill(rt, p, w.drawAsked(rt))
}

// kill does a run that the process is armed not to survive; its last event
// happens or not.
func (w *world) kill(rt *rapid.T, p *process, o jobs.Order) {
	p.after.Store(rapid.Bool().Draw(rt, "after it"))
	defer p.killAt.Store(0)
	defer p.create.Store(0)
	ended := make(chan struct{})
	o.Trigger = cmp.Or(o.Trigger, rotation.Scheduled)
	go func() {
		defer close(ended)
		_, _ = p.runner.Run(p.ctx, o)
	}()
	select {
	case <-ended:
	case <-p.ctx.Done(): // dead; its goroutines find that out by themselves
	case <-time.After(runLimit):
		rt.Fatal("the run hung")
	}
	if p.dead.Load() {
		w.bury(rt, p)
		w.tally.kills.Add(1)
	}
}

func (w *world) personAdds(rt *rapid.T) {
	project := w.drawProject(rt)
	begin := rapid.SampledFrom([]string{"", untouched}).Draw(rt, "name")
	age := time.Duration(rapid.IntRange(0, 30).Draw(rt, "age in days")) * day
	if len(w.sim.Keys(project)) < 7 {
		w.add(project, w.name(begin), age)
	}
}

// drawKey draws a key of a subproject; rotator's own project is left alone,
// since without its own key it can do nothing more. False if there is none.
func (w *world) drawKey(rt *rapid.T) (sinchtest.Key, bool) {
	project, n := w.drawProject(rt), rapid.IntRange(0, 9).Draw(rt, "key")
	keys := w.sim.Keys(project)
	if project == parent || len(keys) == 0 {
		return sinchtest.Key{}, false
	}
	return keys[n%len(keys)], true
}

func (w *world) personRemoves(rt *rapid.T) {
	if k, ok := w.drawKey(rt); ok {
		w.sim.RemoveKey(k.ID)
		w.removed[k.ID] = true
		delete(w.excluded, k.ID)
		w.filled[k.ProjectID] = len(w.sim.Keys(k.ProjectID)) > 0
	}
}

// personal begins the names that people give to keys that exist already.
const personal = "moved-"

func (w *world) personRenames(rt *rapid.T) {
	k, ok := w.drawKey(rt)
	if !ok || w.excluded[k.ID] != "" {
		return
	}
	name := w.name(personal)
	text, _ := w.sim.Secret(k.ID)
	url := fmt.Sprintf("%s/v1/projects/%s/accessKeys/%s", w.simURL, k.ProjectID, k.ID)
	r, err := http.NewRequestWithContext(w.ctx, http.MethodPatch, url, strings.NewReader(fmt.Sprintf(`{"displayName":%q}`, name)))
	must(rt, err)
	r.SetBasicAuth(k.ID, text)
	resp, err := http.DefaultClient.Do(r)
	must(rt, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		rt.Fatalf("renaming a key: %s", resp.Status)
	}
	w.renamed[k.ID] = true
	w.creds[k.ProjectID][name] = true
}

// drawPath draws a credential; its path may not exist.
func (w *world) drawPath(rt *rapid.T) string {
	var all []string
	for _, project := range w.projects() {
		for name := range w.creds[project] {
			all = append(all, path(project, name))
		}
	}
	slices.Sort(all)
	return all[rapid.IntRange(0, 99).Draw(rt, "path")%len(all)]
}

func (w *world) personRollsBack(rt *rapid.T) {
	at, back := w.drawPath(rt), rapid.IntRange(1, 3).Draw(rt, "versions back")
	version, _, _ := w.read(rt, at)
	if version <= back {
		return
	}
	old, err := w.vault.GetVersion(w.ctx, at, version-back)
	if err != nil || old.Data == nil || old.Data["key_id"] == nil {
		return // destroyed or deleted: nothing to go back to
	}
	_, err = w.vault.Put(w.ctx, at, old.Data)
	must(rt, err)
	rt.Logf("%s goes back to version %d, key %v", at, version-back, old.Data["key_id"])
}

func (w *world) personUnlabels(rt *rapid.T) {
	at := w.drawPath(rt)
	if version, _, _ := w.read(rt, at); version == 0 {
		return
	}
	must(rt, w.vault.PutMetadata(w.ctx, at, api.KVMetadataPutInput{CustomMetadata: map[string]any{}}))
	meta, err := w.vault.GetMetadata(w.ctx, at)
	must(rt, err)
	if len(meta.CustomMetadata) > 0 {
		rt.Fatalf("%s: the custom metadata is still there", at)
	}
}

func (w *world) newSubproject(rt *rapid.T) {
	n := len(w.sim.Subprojects(parent))
	if n < 6 {
		w.seed(rt, n)
	}
}
