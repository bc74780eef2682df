package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault/vaultmem"
)

// demo is the stack that the story runs on.
type demo struct {
	*cli
	began time.Time
	dir   string // of the demo's own, removed afterwards
	env   environment
	sim   *sinchtest.Server
	undo  []func() error
	shown string // the subproject whose story is told
	psql  string // the auditor's URL of the database

	crowd *crowd // consumers, while they work
	tally tally
}

// environment is a process's environment as a map.
type environment map[string]string

// Lookup returns a variable.
func (e environment) Lookup(name string) (string, bool) { v, ok := e[name]; return v, ok }

// Names lists the variables.
func (e environment) Names() []string { return slices.Sorted(maps.Keys(e)) }

// lines is the environment as an --env-file.
func (e environment) lines() string {
	var b strings.Builder
	for _, name := range e.Names() {
		fmt.Fprintf(&b, "%s='%s'\n", name, e[name])
	}
	return b.String()
}

const (
	demoParent = "01JDEMOPARENT"
	demoDay    = 24 * time.Hour
)

// start brings the stack up and fills in the environment.
func (d *demo) start(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "rotator-demo-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	d.undo = append(d.undo, func() error { return os.RemoveAll(d.dir) })
	d.env = environment{
		"ROTATOR_INCLUDE": "*", "ROTATOR_OVERLAP": demoOverlap.String(), "ROTATOR_STATE_DIR": d.dir,
		"LOG_LEVEL": "error", "LOG_FORMAT": "text", "SINCH_PROJECT_ID": demoParent,
	}
	for _, part := range []func(context.Context) error{d.startSinch, d.startVault, d.startPostgres} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startSinch(context.Context) error {
	d.sim = sinchtest.New(sinchtest.Config{})
	url, err := d.sim.Start() //nolint:contextcheck // it lives until it is closed
	if err != nil {
		return fmt.Errorf("starting the simulated Sinch: %w", err)
	}
	d.undo = append(d.undo, d.sim.Close)
	own := d.seed()
	maps.Copy(d.env, environment{
		"SINCH_AUTH_URL": url + "/oauth2/token", "SINCH_ACCESS_KEYS_URL": url, "SINCH_SUBPROJECTS_URL": url,
		"SINCH_KEY_ID": own.KeyID, "SINCH_KEY_SECRET": own.Secret,
	})
	return nil
}

// seed makes a small fleet of mixed ages under the default age limit of 90
// days, and returns rotator's own key.
func (d *demo) seed() sinchtest.Issued {
	s, now := d.sim, time.Now()
	aged := func(days int) time.Time { return now.Add(-time.Duration(days) * demoDay) }
	s.AddParent(demoParent, "Example Group")
	own := s.AddKey(demoParent, "rotator", aged(12))
	d.shown = "01JDEMORETAIL"
	s.AddSubproject(demoParent, d.shown, "Retail", nil)
	s.AddKey(d.shown, "billing-api", aged(89))
	s.AddKey(d.shown, "campaigns", aged(20))
	s.AddSubproject(demoParent, "01JDEMOLOGISTICS", "Logistics", nil)
	s.AddKey("01JDEMOLOGISTICS", "dispatch", aged(97))
	s.AddKey("01JDEMOLOGISTICS", "tracking", aged(40))
	s.AddSubproject(demoParent, "01JDEMOCLINIC", "Clinic", map[string]string{"rotator.max-age": "30d"})
	s.AddKey("01JDEMOCLINIC", "reminders", aged(31))
	s.AddSubproject(demoParent, "01JDEMOBANK", "Bank / Norden", nil)
	s.AddKey("01JDEMOBANK", "one-time passwords", aged(88))
	s.AddKey("01JDEMOBANK", "alerts", aged(3))
	return own
}

func (d *demo) projects() []string {
	return append(d.sim.Subprojects(demoParent), demoParent)
}

func (d *demo) countKeys() int {
	n := 0
	for _, p := range d.projects() {
		n += len(d.sim.Keys(p))
	}
	return n
}

// startVault uses the Vault that the environment names, else one in memory.
func (d *demo) startVault(ctx context.Context) error {
	if addr, ok := d.cli.env.Lookup("VAULT_ADDR"); ok && addr != "" {
		for _, name := range d.cli.env.Names() {
			if strings.HasPrefix(name, "VAULT_") {
				d.env[name], _ = d.cli.env.Lookup(name)
			}
		}
		d.env["VAULT_KV_PREFIX"] = fmt.Sprintf("rotator-demo-%d", d.began.Unix())
		d.env["AUDIT_VAULT_PREFIX"] = fmt.Sprintf("audit-of-demo-%d", d.began.Unix())
		return nil
	}
	server := vaultmem.New(vaultmem.Config{})
	addr, token, err := server.Start(ctx)
	if err != nil {
		return fmt.Errorf("starting the in-memory Vault: %w", err)
	}
	d.undo = append(d.undo, server.Close)
	d.env["VAULT_ADDR"], d.env["VAULT_TOKEN"] = addr, token.Reveal()
	return nil
}

// clean stops what was started, the last first.
func (d *demo) clean() {
	d.quiet()
	for _, undo := range slices.Backward(d.undo) {
		if err := undo(); err != nil {
			fmt.Fprintln(d.err, "cleaning up:", err)
		}
	}
}
