package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/vault"
)

// openVault logs in to the configured Vault.
func openVault(ctx context.Context, cfg *config, recorder call.Recorder, logger *slog.Logger) (*vault.Store, error) {
	access, err := cfg.vaultClient()
	if err != nil {
		return nil, err
	}
	v := cfg.Vault
	store, err := vault.Open(ctx, vault.Config{
		API: access, Namespace: v.Namespace, Auth: cfg.vaultAuth(), ClientCert: v.ClientCert, ClientKey: v.ClientKey,
		Mount: v.KVMount, Prefix: v.KVPrefix, Recorder: recorder, Logger: logger, Now: time.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("VAULT_ADDR %s: %w", v.Address, err)
	}
	return store, nil
}

// openAnchors prepares the checkpoints of the audit log.
func (a *app) openAnchors(ctx context.Context, secrets *vault.Store) error {
	cfg := a.cfg.Audit
	documents, err := secrets.Documents(cfg.VaultPrefix)
	if err != nil {
		return fmt.Errorf("AUDIT_VAULT_PREFIX: %w", err)
	}
	anchoring := audit.AnchorConfig{
		Log: a.log, Store: jobs.AuditStore(documents), Prefix: cfg.VaultPrefix,
		Signer: cfg.Signer, Pinned: verifierKeys(cfg.VerifierKeys),
		Transit:  func(ref string) (audit.Transit, error) { return jobs.AuditTransit(secrets, ref) },
		Interval: cfg.CheckpointInterval, MaxAge: cfg.CheckpointMaxAge, Logger: a.logger, Now: time.Now,
	}
	if cfg.CheckpointDir != "" {
		anchoring.Mirror = audit.DirStore(cfg.CheckpointDir)
	}
	a.anchors, err = audit.OpenAnchors(ctx, anchoring)
	switch {
	case errors.Is(err, audit.ErrKeyChange):
		return refusedOr(fmt.Errorf("AUDIT_SIGNER %s: %w", cfg.Signer, err), audit.ErrKeyChange)
	case err != nil:
		return down(fmt.Errorf("preparing checkpoints below %s: %w", cfg.VaultPrefix, err))
	}
	return nil
}

// refusedOr marks an error as a guard's refusal if it matches one of them.
func refusedOr(err error, guards ...error) error {
	for _, g := range guards {
		if errors.Is(err, g) {
			return &exitError{code: jobs.ExitRefused, err: err}
		}
	}
	return err
}

// verifierKeys splits AUDIT_VERIFIER_KEYS.
func verifierKeys(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
}

// openArchive opens the checkpoints outside the database for reading: those in
// a directory, or those in Vault. Nothing is written, not to the log either.
// Pins are verifier keys besides AUDIT_VERIFIER_KEYS.
func (c *cli) openArchive(ctx context.Context, cfg *config, dir string, pins []string) (*audit.Archive, func(), error) {
	var store audit.Store
	if dir != "" {
		store = audit.DirStore(dir)
	} else {
		secrets, err := openVault(ctx, cfg, unrecorded{}, newLogger(c.err, cfg))
		if err != nil {
			return nil, nil, err
		}
		documents, err := secrets.Documents(cfg.Audit.VaultPrefix)
		if err != nil {
			return nil, nil, fmt.Errorf("AUDIT_VAULT_PREFIX: %w", err)
		}
		store = jobs.AuditStore(documents)
	}
	keys, err := audit.LoadKeyring(ctx, store, append(verifierKeys(cfg.Audit.VerifierKeys), pins...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading who signs checkpoints: %w", err)
	}
	return &audit.Archive{Store: store, Keys: keys}, func() {}, nil
}

// unrecorded is the recorder of commands that look at the log and leave no
// trace in it: they read, and change nothing.
type unrecorded struct{}

var errReadOnly = errors.New("this command changes nothing")

func (unrecorded) Intent(context.Context, call.Call) error { return errReadOnly }

func (unrecorded) Outcome(context.Context, call.Call, call.Result) error { return nil }
