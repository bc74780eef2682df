package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
	"rotator/internal/postgres"
	"rotator/internal/rotation"
	"rotator/migrations"
)

// verifying is what `audit verify` was told.
type verifying struct {
	jsonl, proof, from string
	until              int64
	archive            archiveFlags
	acceptEpoch        int
	maxAge             string
	output             string
}

func (c *cli) auditVerifyCommand() *cobra.Command {
	var o verifying
	cmd := judging(&cobra.Command{
		Use:   "verify",
		Short: "Checks that nothing in the audit log was altered, removed or cut off",
		Long: `Reads every event of the log, hashes it, and holds the log against every
checkpoint outside the database, in Vault or in a directory. Query columns,
stored hashes, the log's head, calls without an outcome and the counters of
runs are checked, too. Nothing that stands in the database is believed, and
nothing is written, neither there nor to Vault.

With --jsonl it checks an export (rotator audit export) instead, with --proof
the file of a proof (rotator audit prove); neither needs the database.

Pin who signs checkpoints with --verifier-key or AUDIT_VERIFIER_KEYS: without,
the key is taken from where the checkpoints are kept, and the output says so.

Exit codes: 0 intact; 1 tampered; 2 it could not be checked, mistakes of usage
and configuration included; 3 intact, but not provable: no checkpoint was found
outside the database, events have stood too long without one, calls have no
outcome, or events were lost before an epoch that is not accepted yet. Where
several apply: 1 before 2 before 3.`,
		Example: `  rotator audit verify
  rotator audit verify --checkpoints /mnt/worm --verifier-key rotator-audit/…
  rotator audit verify --jsonl export.jsonl --checkpoints checkpoints -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return couldNot(c.auditVerify(cmd.Context(), cmd.Flags().Changed, o))
		},
	})
	fl := cmd.Flags()
	o.archive.add(cmd)
	fl.StringVar(&o.jsonl, "jsonl", "", "verify this export `file` instead of the database; - is standard input")
	fl.StringVar(&o.proof, "proof", "", "verify the proof in this `file`; - is standard input")
	fl.StringVar(&o.from, "from", "", "go on from this `checkpoint`, without the events before it: SIZE, EPOCH/SIZE, or its file. An export then begins there")
	fl.Int64Var(&o.until, "until", 0, "with --jsonl: the export ends with the checkpoint of this `size`")
	fl.IntVar(&o.acceptEpoch, "accept-epoch", 0, "accept what was lost before this `epoch`, the newest one")
	fl.StringVar(&o.maxAge, "max-age", "", "how long an event may stand without a checkpoint, a `duration` (default AUDIT_CHECKPOINT_MAX_AGE)")
	fl.StringVarP(&o.output, "output", "o", "table", "table or json")
	return cmd
}

// couldNot gives an error that has no exit code of its own that of a log that
// could not be judged.
func couldNot(err error) error {
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	return judged(err)
}

// auditVerify verifies what it is told to, and ends with the verdict's exit
// code.
func (c *cli) auditVerify(ctx context.Context, given func(flag string) bool, o verifying) error {
	if err := o.check(given); err != nil {
		return err
	}
	if o.proof != "" {
		return c.verifyProof(ctx, o.proof, o.archive.pins, o.archive.dir, o.output)
	}
	cfg, inVault, err := c.verifyConfig(ctx, o)
	if err != nil {
		return err
	}
	against, err := o.against(cfg)
	if err != nil {
		return err
	}
	done, err := c.holdAgainst(ctx, cfg, o, inVault, &against)
	if err != nil {
		return err
	}
	defer done()
	bar := newProgress(c.err, newLogger(c.err, cfg), "verifying")
	bar.unit = "events"
	against.Progress = func(done, all int64) { bar.show(int(done), int(all)) }
	verdict, err := c.verdict(ctx, cfg, o, against)
	bar.done()
	if err != nil {
		return err
	}
	return c.tell(verdict, o.output)
}

// check refuses flags that mean nothing together.
func (o verifying) check(given func(flag string) bool) error {
	if err := oneOf("-o", o.output, "table", "json"); err != nil {
		return err
	}
	switch {
	case o.proof == "" && given("proof"), o.jsonl == "" && given("jsonl"):
		return errors.New("audit verify: --jsonl and --proof need the name of a file, or - for standard input")
	case o.proof != "" && (o.jsonl != "" || o.from != "" || given("accept-epoch") || given("max-age")):
		return errors.New("audit verify --proof checks one proof: of the other flags it takes --checkpoints and --verifier-key only")
	case given("until") && (o.jsonl == "" || o.until < 1):
		return errors.New("audit verify --until is the size of the checkpoint that an export ends with: it goes with --jsonl")
	case given("accept-epoch") && o.acceptEpoch < 2:
		return fmt.Errorf("audit verify --accept-epoch %d: nothing is lost before epoch 2", o.acceptEpoch)
	}
	return nil
}

// against is what the flags and the configuration say about how strict to be.
func (o verifying) against(cfg *config) (audit.VerifyConfig, error) {
	a := audit.VerifyConfig{AcceptEpoch: o.acceptEpoch, Until: o.until, MaxAge: cfg.Audit.CheckpointMaxAge}
	if o.jsonl == "" {
		a.Now = time.Now()
	}
	if o.maxAge != "" {
		d, err := rotation.ParseDuration(o.maxAge)
		if err != nil || d < 0 {
			return a, fmt.Errorf("--max-age %s: want a duration such as 1h or 2d", o.maxAge)
		}
		a.MaxAge = d
	}
	return a, nil
}

// holdAgainst opens the checkpoints. That Vault cannot be asked does not end
// the command: what the database alone shows is checked all the same.
func (c *cli) holdAgainst(ctx context.Context, cfg *config, o verifying, inVault bool, a *audit.VerifyConfig) (done func(), err error) {
	done = func() {}
	if inVault || o.archive.dir != "" {
		a.Archive, done, err = c.openArchive(ctx, cfg, o.archive.dir, o.archive.pins)
		if err != nil {
			a.Archive, a.NoArchive, done = nil, err, func() {}
		}
	}
	if o.from == "" {
		return done, nil
	}
	from, err := c.resumed(ctx, cfg, o, a.Archive)
	if err != nil {
		done()
		return nil, fmt.Errorf("--from %s: %w", o.from, err)
	}
	a.From = &from
	return done, nil
}

// checkpointName is a checkpoint's size, with its epoch or without.
var checkpointName = regexp.MustCompile(`^(?:(\d{1,9})/)?(\d{1,18})$`)

// resumed finds the checkpoint to go on from.
func (c *cli) resumed(ctx context.Context, cfg *config, o verifying, archive *audit.Archive) (audit.Anchor, error) {
	name := checkpointName.FindStringSubmatch(o.from)
	switch {
	case name == nil:
		keys, err := o.keys(cfg, archive)
		if err != nil {
			return audit.Anchor{}, err
		}
		return audit.ReadCheckpoint(keys, o.from) //nolint:wrapcheck // wrapped by the caller, as below
	case archive == nil:
		return audit.Anchor{}, errors.New("there are no checkpoints to look it up in; give its file, or --checkpoints")
	}
	epoch, _ := strconv.Atoi(cmp.Or(name[1], "0")) // nine digits at most
	size, _ := strconv.ParseInt(name[2], 10, 64)   // eighteen
	return archive.Checkpoint(ctx, epoch, size)    //nolint:wrapcheck // see above
}

// keys are those that a checkpoint's file may be signed with.
func (o verifying) keys(cfg *config, archive *audit.Archive) (*audit.Keyring, error) {
	pins := append(verifierKeys(cfg.Audit.VerifierKeys), o.archive.pins...)
	switch {
	case archive != nil:
		return archive.Keys, nil
	case len(pins) == 0:
		return nil, errors.New("who signed it cannot be known: pin a key with --verifier-key")
	}
	return audit.NewKeyring(pins...) //nolint:wrapcheck // it names the key
}

// verifyConfig loads what is needed: an export needs no database, and Vault is
// asked where something is said about it, unless a directory takes its place.
func (c *cli) verifyConfig(ctx context.Context, o verifying) (cfg *config, inVault bool, err error) {
	need := needAudit
	if o.jsonl == "" {
		need |= needDatabase
	}
	cfg, err = c.config(ctx, need)
	if err != nil || o.archive.dir != "" || !vaultConfigured(cfg.Vault) {
		return cfg, false, err
	}
	cfg, err = c.config(ctx, need|needVault)
	return cfg, true, err
}

// verdict verifies the database's log, or an export.
func (c *cli) verdict(ctx context.Context, cfg *config, o verifying, against audit.VerifyConfig) (*audit.Verdict, error) {
	switch o.jsonl {
	case "":
	case "-":
		return audit.VerifyLines(ctx, c.in, against), nil
	default:
		f, err := os.Open(o.jsonl)
		if err != nil {
			return nil, fmt.Errorf("--jsonl: %w", err)
		}
		defer f.Close() //nolint:errcheck // nothing was written
		return audit.VerifyLines(ctx, io.ReadSeeker(f), against), nil
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if err := postgres.CheckSchema(ctx, pool, migrations.FS); err != nil {
		return nil, err //nolint:wrapcheck // it names the command to run
	}
	return audit.VerifyDatabase(ctx, pool, against), nil
}
