package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/sinch"
	"rotator/internal/vault"
)

// openRun connects to Vault and Sinch and makes the runner. One that may
// change something has a spill file and checkpoints.
func (a *app) openRun(ctx context.Context, lenient bool) error {
	recorder := &jobs.Recorder{Log: a.log, Logger: a.logger, Lenient: lenient}
	if !lenient {
		if err := a.openSpill(); err != nil {
			return err
		}
		recorder.Spill = a.spill
	}
	a.recorder = recorder
	secrets, err := a.openVault(ctx, recorder)
	if err != nil {
		return err
	}
	a.secrets = secrets
	cfg := a.jobsConfig()
	if !lenient {
		if err := a.openAnchors(ctx, secrets); err != nil {
			return err
		}
		if err := a.replay(ctx); err != nil {
			return err
		}
		recorder.Anchors, cfg.Anchors = a.anchors, a.anchors
	}
	client, err := sinch.New(sinchConfig(a.cfg, a.counting(recorder), a.logger), sinch.Credentials{
		KeyID: a.cfg.Sinch.KeyID, Secret: a.cfg.Sinch.KeySecret,
	})
	if err != nil {
		return fmt.Errorf("setting up the Sinch client: %w", err)
	}
	cfg.Keys, cfg.Directory, cfg.Identity, cfg.Secrets = client, client, client, secrets
	a.runner = jobs.New(cfg)
	return nil
}

// jobsConfig is what the configuration says about runs.
func (a *app) jobsConfig() jobs.Config {
	r := a.cfg.Run
	return jobs.Config{
		State: a.store, Log: a.log, Logger: a.logger,
		Parent: a.cfg.Sinch.ProjectID, Policy: a.cfg.Policy, Scope: a.cfg.Scope, Labels: a.cfg.Labels,
		Self: a.cfg.Rotation.Self, Onboard: a.cfg.Rotation.Onboard,
		Actor: a.cfg.Process.Actor, Host: a.host, Process: a.id,
		Concurrency: r.Concurrency, Lease: r.Lease, Recheck: a.cfg.Rotation.Recheck, MaxSkew: r.MaxClockSkew,
		MaxFailures: r.MaxFailures, MaxRotations: r.MaxRotations, MaxDeletions: r.MaxDeletions,
		Grace: r.ShutdownTimeout, Now: time.Now,
	}
}

// openVault logs in to Vault; from now on the log says as whom.
func (a *app) openVault(ctx context.Context, recorder *jobs.Recorder) (*vault.Store, error) {
	secrets, err := openVault(ctx, a.cfg, a.counting(recorder), a.logger)
	if err != nil {
		return nil, err
	}
	a.log.SetCommon(func(e *audit.Event) { e.VaultEntity = secrets.Entity() })
	return secrets, nil
}

func sinchConfig(cfg *config, recorder call.Recorder, logger *slog.Logger) sinch.Config {
	s := cfg.Sinch
	probes, _ := sinch.ParseProbes(s.Probes) // checked with the configuration
	return sinch.Config{
		AuthURL: s.AuthURL, AccessKeysURL: s.AccessKeysURL, SubprojectsURL: s.SubprojectsURL,
		Subprojects: s.Subprojects, AuthMethod: s.AuthMethod,
		RateLimit: s.RateLimit, TokenRate: s.TokenRate, TokenBurst: s.TokenBurst,
		Timeout: s.Timeout, VerifyTimeout: s.VerifyTimeout, Probes: probes,
		Recorder: recorder, Logger: logger, Now: time.Now, MaxConns: cfg.Run.Concurrency,
	}
}
