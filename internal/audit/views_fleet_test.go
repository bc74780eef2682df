package audit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
)

const day = 24 * time.Hour

// fleet is a made-up history of an installation: projects of four credentials
// each, looked at once a day and rotated every twenty days, with the mishaps
// that happen. It writes what rotator would write, and remembers the truth for
// the questions asked afterwards.
type fleet struct {
	write    func(...audit.Event) // takes events of one moment, in order
	random   *rand.Rand
	now      time.Time
	run      string
	projects []*fleetProject
	rotation int // so many so far
	events   int

	// The truth.
	keys      []*fleetKey
	calls     map[fleetCall]int
	open      []string    // calls whose intent is all there is
	resolved  int         // calls whose end was found out
	gaps      []time.Time // when the schedule stood still
	responses int         // to compromised keys
}

type fleetProject struct {
	id        string
	creds     []*fleetCredential
	unmanaged *fleetKey
	told      bool // of its policy
	open      []audit.Event
}

type fleetCredential struct {
	name      string
	current   *fleetKey
	old       []*fleetKey // superseded, until they are retired
	orphan    *fleetKey
	stuck     bool // Vault refuses it
	published bool
}

type fleetKey struct {
	id, name, project, credential         string
	created, published, superseded, gone  time.Time
	rotation, replacedBy, trigger, reason string
	state                                 string
	known                                 time.Time // since when the log tells of it; zero: it does not
	vanished                              bool      // nobody said that it was deleted
}

// fleetCall is what status codes are counted by.
type fleetCall struct {
	day     string
	op      string
	status  int
	outcome audit.Outcome
}

const (
	fleetEvery   = 20 * day
	fleetOverlap = 7 * day
	fleetMaxAge  = 30 * day
	fleetGap     = 5 * time.Hour
)

// newFleet begins at a time; the same seed gives the same story.
func newFleet(projects int, begin time.Time, write func(...audit.Event)) *fleet {
	f := &fleet{write: write, random: rand.New(rand.NewPCG(1, 2)), now: begin, calls: map[fleetCall]int{}}
	for n := range projects {
		p := &fleetProject{id: fmt.Sprintf("01HXPROJECT%015d", n)}
		for _, name := range []string{"billing-api", "campaigns", "one-time-passwords", "reminders"} {
			c := &fleetCredential{name: name, stuck: n%100 == 7 && name == "reminders"}
			c.current = f.key(p, name, name, f.now.Add(-time.Duration(f.random.Int64N(int64(fleetEvery)))))
			c.current.state = "adopted"
			p.creds = append(p.creds, c)
		}
		if n%20 == 3 {
			p.unmanaged = f.key(p, "break-glass", "break-glass", f.now.Add(-100*day))
			p.unmanaged.state = "unmanaged"
		}
		f.projects = append(f.projects, p)
	}
	return f
}

// tell goes on, hour by hour, until so many events are written.
func (f *fleet) tell(events int) {
	for hour := 0; f.events < events; hour++ {
		f.now = f.now.Truncate(time.Hour).Add(time.Hour)
		if hour%1500 == 1300 {
			f.gaps = append(f.gaps, f.now.Add(-time.Hour))
			hour += int(fleetGap/time.Hour) - 1
			f.now = f.now.Add(fleetGap - time.Hour)
		}
		f.sweep(hour % 24)
	}
}

func (f *fleet) uuid() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(f.random.Uint32())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return uuid.UUID(b).String()
}

// later is a time-ordered id, as calls and runs have.
func (f *fleet) later() string {
	id := uuid.MustParse(f.uuid())
	ms := uint64(f.now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6] = id[6]&0x0f | 0x70
	return id.String()
}

func (f *fleet) key(p *fleetProject, credential, name string, created time.Time) *fleetKey {
	k := &fleetKey{id: f.uuid(), name: name, project: p.id, credential: credential, created: created.UTC().Truncate(time.Microsecond)}
	f.keys = append(f.keys, k)
	return k
}

// emit writes one event of the run.
func (f *fleet) emit(e audit.Event) {
	f.now = f.now.Add(time.Duration(2+f.random.IntN(40)) * time.Millisecond)
	e.TimeUS, e.Run, e.Trigger = f.now.UnixMicro(), f.run, orElse(e.Trigger, "schedule")
	f.events++
	if e.Type != audit.InventorySnapshot { // its run says it
		e.Traceparent = fmt.Sprintf("00-%s-%016x-00", strings.ReplaceAll(f.run, "-", ""), f.events)
	}
	f.write(e)
}

func orElse(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// call writes the outcome of a call, and its intent before, if it has one.
func (f *fleet) call(e audit.Event, op, method, url string, status int) string {
	e.Type, e.Op, e.Method, e.URL, e.Attempt, e.Call = audit.APICall, op, method, url, max(e.Attempt, 1), f.later()
	if slices.Contains(fleetMutations, op) {
		e.Phase = audit.Intent
		f.emit(e)
	}
	e.Phase, e.Status, e.Outcome = audit.Result, status, audit.OK
	e.DurationUS, e.RequestID = int64(2000+f.random.IntN(60000)), f.uuid()
	switch {
	case status == 0:
		e.Outcome, e.Error, e.RequestID = audit.Unknown, "EOF", ""
	case status >= 400:
		e.Outcome, e.Error = audit.Error, fmt.Sprintf(`{"error":{"code":%d,"status":"refused"}}`, status)
	}
	f.emit(e)
	f.calls[fleetCall{f.now.UTC().Format(time.DateOnly), op, status, e.Outcome}]++
	return e.Call
}

var fleetMutations = []string{"access_keys.create", "access_keys.update", "access_keys.delete", "vault.write", "vault.destroy"}

const sinchURL, vaultURL = "https://account.api.sinch.com/v1/projects/", "https://vault.internal:8200/v1/secret/"

func (f *fleet) sweep(hour int) {
	f.run = f.later()
	f.emit(audit.Event{Type: audit.RunStarted, Tick: f.now.Truncate(time.Hour), Policy: "max age 30d, overlap 7d, adopt delete"})
	f.call(audit.Event{}, "vault.read", "GET", vaultURL+"data/sinch/01HXPARENT/rotator", 200)
	f.call(audit.Event{Key: f.projects[0].creds[0].current.id}, "token.exchange", "POST", "https://auth.sinch.com/oauth2/token", 200)
	for page := 0; page < len(f.projects); page += 100 {
		f.call(audit.Event{Project: "01HXPARENT"}, "subprojects.list", "GET", "https://subproject.api.sinch.com/v1/projects/01HXPARENT/subprojects?pageSize=100", 200)
	}
	for n, p := range f.projects {
		if n%24 == hour {
			f.look(p)
		}
	}
	f.emit(audit.Event{Type: audit.RunFinished, Counters: map[string]int64{"projects": 42, "keys": 168, "rotated": 8, "retired": 8, "failed": 0, "refused": 0, "skipped": 0, "orphans_deleted": 0}})
}

// look looks at a project and does what is due.
func (f *fleet) look(p *fleetProject) {
	e := audit.Event{Project: p.id}
	if f.random.IntN(50) == 0 {
		f.call(e, "access_keys.list", "GET", sinchURL+p.id+"/accessKeys?pageSize=100", 429)
		e.Attempt = 2
	}
	f.call(e, "access_keys.list", "GET", sinchURL+p.id+"/accessKeys?pageSize=100", 200)
	e.Attempt = 0
	for _, c := range p.creds {
		e.Credential, e.VaultPath = c.name, "sinch/"+p.id+"/"+c.name
		if c.published {
			f.call(e, "vault.read", "GET", vaultURL+"metadata/sinch/"+p.id+"/"+c.name, 200)
			f.call(e, "vault.read", "GET", vaultURL+"data/sinch/"+p.id+"/"+c.name, 200)
		} else {
			f.call(e, "vault.read", "GET", vaultURL+"data/sinch/"+p.id+"/"+c.name, 404)
		}
	}
	f.resolve(p)
	if !p.told {
		p.told = true
		f.emit(audit.Event{Type: audit.PolicyChanged, Project: p.id, Policy: "max age 30d, overlap 7d", MaxAgeS: int64(fleetMaxAge.Seconds()), OverlapS: new(int64(fleetOverlap.Seconds()))})
	}
	var lost *fleetKey
	if p.unmanaged != nil && f.random.IntN(100) == 0 { // somebody has deleted it
		lost, p.unmanaged = p.unmanaged, nil
	}
	f.snapshot(p)
	if lost != nil {
		lost.vanished, lost.gone = true, f.now
	}
	for _, c := range p.creds {
		f.work(p, c)
	}
}

func (f *fleet) listed(p *fleetProject) []*fleetKey {
	var keys []*fleetKey
	for _, c := range p.creds {
		keys = append(append(keys, c.current), c.old...)
		if c.orphan != nil {
			keys = append(keys, c.orphan)
		}
	}
	if p.unmanaged != nil {
		keys = append(keys, p.unmanaged)
	}
	return slices.DeleteFunc(keys, func(k *fleetKey) bool { return !k.gone.IsZero() })
}

func (f *fleet) snapshot(p *fleetProject) {
	e := audit.Event{
		Type: audit.InventorySnapshot, Project: p.id, Complete: new(true), InScope: new(true),
		MaxAgeS: int64(fleetMaxAge.Seconds()), OverlapS: new(int64(fleetOverlap.Seconds())), Policy: "max age 30d, overlap 7d, adopt delete",
	}
	listed := f.listed(p)
	for _, k := range listed {
		e.Keys = append(e.Keys, audit.Key{ID: k.id, Name: k.name, Created: k.created, State: k.state})
	}
	f.emit(e)
	for _, k := range listed {
		f.learn(k)
	}
}

// learn notes that the log knows a key now.
func (f *fleet) learn(k *fleetKey) {
	if k.known.IsZero() {
		k.known = f.now
	}
}

// resolve closes what a crash has left open: most of it, by asking.
func (f *fleet) resolve(p *fleetProject) {
	for _, intent := range p.open {
		intent.ID, intent.Phase, intent.Outcome, intent.Reason = "", audit.Resolved, audit.Unknown, "not applied yet, though it may still arrive: Sinch lists no key of this name"
		f.emit(intent)
		f.resolved++
	}
	p.open = nil
}

func (f *fleet) work(p *fleetProject, c *fleetCredential) {
	about := audit.Event{Project: p.id, Credential: c.name}
	if k := c.orphan; k != nil {
		about.VaultPath = "sinch/" + p.id + "/" + c.name
		f.call(about, "vault.write", "PUT", vaultURL+"data/sinch/"+p.id+"/"+c.name, 200)
		f.remove(p, about, k, audit.KeyOrphanDeleted)
		c.orphan = nil
	}
	for len(c.old) > 0 && f.now.Sub(c.old[0].superseded) >= fleetOverlap {
		if !c.old[0].gone.IsZero() { // a person was first
			c.old = c.old[1:]
			continue
		}
		f.remove(p, about, c.old[0], audit.KeyRetired)
		c.old = c.old[1:]
	}
	if f.now.Sub(c.current.created) < fleetEvery && f.random.IntN(4000) > 0 {
		return
	}
	if c.stuck {
		f.call(about, "vault.read", "PUT", vaultURL+"sys/capabilities-self", 403)
		about.Type, about.Error = audit.RotationFailed, "Vault refuses to write sinch/"+p.id+"/"+c.name+": 403"
		f.emit(about)
		return
	}
	f.rotate(p, c, about)
}

// remove deletes a key and confirms it.
func (f *fleet) remove(p *fleetProject, about audit.Event, k *fleetKey, kind string) {
	about.Key, about.VaultPath = k.id, ""
	if kind == audit.KeyRetired {
		d := about
		d.VaultPath, d.Key = "sinch/"+p.id+"/"+about.Credential, ""
		f.call(d, "vault.destroy", "PUT", vaultURL+"destroy/sinch/"+p.id+"/"+about.Credential, 204)
	}
	f.call(audit.Event{Project: p.id, Credential: about.Credential}, "access_keys.list", "GET", sinchURL+p.id+"/accessKeys?pageSize=100", 200)
	f.call(about, "access_keys.delete", "DELETE", sinchURL+p.id+"/accessKeys/"+k.id, 200)
	f.call(about, "access_keys.get", "GET", sinchURL+p.id+"/accessKeys/"+k.id, 404)
	about.Type, about.DisplayName, about.KeyCreatedAt, about.MaxAgeS = kind, k.name, k.created, int64(fleetMaxAge.Seconds())
	about.Reason, about.Trigger = "its overlap has passed", k.trigger
	f.emit(about)
	k.gone = f.now
}

const base32 = "0123456789abcdefghijklmnopqrstuv"

func (f *fleet) rotationID() string {
	f.rotation++
	var b strings.Builder
	for range 13 {
		b.WriteByte(base32[f.random.IntN(32)])
	}
	return b.String()
}

// rotate replaces a credential's key, as rotator's own log shows it.
func (f *fleet) rotate(p *fleetProject, c *fleetCredential, about audit.Event) {
	old := c.current
	about.Rotation, about.Replaces, about.Trigger = f.rotationID(), old.id, "schedule"
	at, vault := sinchURL+p.id+"/accessKeys", vaultURL+"data/sinch/"+p.id+"/"+c.name
	planned := about
	planned.Type, planned.Reason = audit.RotationPlanned, "its age of 20d has reached 20d"
	planned.DisplayName, planned.MaxAgeS, planned.OverlapS = c.name+"~"+about.Rotation, int64(fleetMaxAge.Seconds()), new(int64(fleetOverlap.Seconds()))
	switch {
	case f.rotation%2500 == 50:
		about.Trigger, planned.Trigger, planned.Reason, planned.Actor = "compromised", "compromised", "a laptop was lost", "alice@desk via run-now"
		f.responses++
	case f.rotation%400 == 20:
		about.Trigger, planned.Trigger, planned.Reason = "drift", "drift", "Vault names it and Sinch does not list it"
		drift := about
		drift.Type, drift.Key, drift.Replaces, drift.Reason = audit.KeyDrift, old.id, "", planned.Reason
		f.emit(drift)
		old.gone = f.now
	}
	f.emit(planned)
	create := about
	create.DisplayName = planned.DisplayName
	k := f.key(p, c.name, planned.DisplayName, f.now)
	k.rotation, k.trigger, k.reason = about.Rotation, about.Trigger, planned.Reason
	switch {
	case f.rotation%97 == 0: // the answer was lost; the key is there
		f.call(create, "access_keys.create", "POST", at, 0)
		k.state, c.orphan = "orphan", k
		f.failed(about, "the answer to the create was lost")
		return
	case f.rotation%53 == 0: // the process was killed; the create never arrived
		create.Type, create.Phase, create.Op, create.Method, create.URL, create.Attempt, create.Call = audit.APICall, audit.Intent, "access_keys.create", "POST", at, 1, f.later()
		f.emit(create)
		f.keys = f.keys[:len(f.keys)-1]
		p.open = append(p.open, create)
		if f.rotation%106 == 0 { // and nobody can tell how that ended
			p.open, f.open = nil, append(f.open, create.Call)
		}
		return
	}
	create.Key = k.id
	f.call(create, "access_keys.create", "POST", at, 200)
	about.Key = k.id
	f.milestone(about, audit.RotationCreated, func(e *audit.Event) { e.DisplayName, e.KeyCreatedAt = k.name, k.created })
	f.learn(k)
	f.call(about, "token.exchange", "POST", "https://auth.sinch.com/oauth2/token", 200)
	f.call(about, "access_keys.get", "GET", at+"/"+k.id, 200)
	f.milestone(about, audit.RotationVerified, nil)
	put := about
	put.VaultPath = "sinch/" + p.id + "/" + c.name
	f.call(put, "vault.write", "PUT", vault, 200)
	f.call(put, "vault.read", "GET", vault, 200)
	f.milestone(about, audit.RotationPublished, func(e *audit.Event) { e.VaultPath, e.VaultVersion = put.VaultPath, 3 })
	k.published, k.state, c.published = f.now, "current", true
	c.current = k
	f.supersede(p, c, about, old, k)
}

func (f *fleet) milestone(about audit.Event, kind string, change func(*audit.Event)) {
	about.Type = kind
	if change != nil {
		change(&about)
	}
	f.emit(about)
}

func (f *fleet) failed(about audit.Event, why string) {
	f.milestone(about, audit.RotationFailed, func(e *audit.Event) { e.Error = why })
}

// supersede marks the old key; a compromised one goes at once.
func (f *fleet) supersede(p *fleetProject, c *fleetCredential, about audit.Event, old, k *fleetKey) {
	old.replacedBy, old.superseded = k.id, f.now
	if old.rotation == "" { // people made it: what replaced it is what is known
		old.rotation, old.trigger, old.reason = k.rotation, k.trigger, k.reason
	}
	if !old.gone.IsZero() {
		return
	}
	about.Key, about.Replaces = old.id, ""
	f.milestone(about, audit.KeySuperseded, func(e *audit.Event) { e.RetireAt = f.now.Add(fleetOverlap).UTC() })
	old.superseded, old.state = f.now, "superseded"
	name := old.name + " (superseded " + f.now.UTC().Format(time.DateOnly) + ")"
	about.DisplayName = name
	f.call(about, "access_keys.update", "PATCH", sinchURL+p.id+"/accessKeys/"+old.id, 200)
	if about.Trigger == "compromised" {
		about.DisplayName = ""
		f.remove(p, about, old, audit.KeyRetired)
		return
	}
	c.old = append(c.old, old)
}

// into writes a fleet's events into a log, many at once.
func into(ctx context.Context, log *audit.Log, batch int) (write func(...audit.Event), flush func() error) {
	var pending []audit.Event
	var err error
	flush = func() error {
		if err == nil && len(pending) > 0 {
			err = log.Append(ctx, pending...)
		}
		pending = pending[:0]
		return err
	}
	return func(events ...audit.Event) {
		if pending = append(pending, events...); len(pending) >= batch {
			_ = flush() // which keeps the error
		}
	}, flush
}
