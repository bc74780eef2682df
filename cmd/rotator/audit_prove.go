package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
)

// proving is what `audit prove` was told.
type proving struct {
	event, from, to string
	archive         archiveFlags
	file            string
}

// archiveFlags say where checkpoints are and whose they must be.
type archiveFlags struct {
	dir  string
	pins []string
}

func (a *archiveFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.dir, "checkpoints", "", "`directory` of checkpoints, instead of Vault")
	cmd.Flags().StringArrayVar(&a.pins, "verifier-key", nil, "`key` that may have signed, beside AUDIT_VERIFIER_KEYS (repeatable)")
}

func (c *cli) auditProveCommand() *cobra.Command {
	var p proving
	cmd := judging(&cobra.Command{
		Use:   "prove --event ID | --from A [--to B]",
		Short: "Writes a proof of an event, or that the log was only added to, to be checked offline",
		Long: `With --event, proves that an event is in the log: a small file with the event,
the hashes that lead from it to a signed checkpoint, and that checkpoint
(c2sp.org/tlog-proof). ID is an event's id or its sequence number.

With --from and --to, proves that the log of the later checkpoint begins with
the log of the earlier one: nothing was changed or removed between them. A and
B are sizes of checkpoints (SIZE, or EPOCH/SIZE) or times: --from then takes
the first checkpoint that covers everything logged before it, --to the last one
until it. Without --to it is the newest.

'rotator audit verify --proof FILE' checks either, without the log; so do other
programs, see docs/proofs.md. Nothing is written to the log or to Vault.

Exit codes: 0 proven; 1 the log's rows are not what its checkpoints sign, or a
checkpoint is forged; 2 it could not be tried; 3 not provable, or not yet.`,
		Example: `  rotator audit prove --event 01977f3e-7c1f-7bbd-a8f3-3c2f1d2b9a10 -o event.tlog-proof
  rotator audit prove --from 2026-07-01 --to 2026-10-01 -o q3.consistency-proof`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return judged(c.auditProve(cmd.Context(), p))
		},
	})
	p.archive.add(cmd)
	cmd.Flags().StringVar(&p.event, "event", "", "event `id`, or sequence number")
	cmd.Flags().StringVar(&p.from, "from", "", "the earlier `checkpoint`: a size, EPOCH/SIZE, or a time")
	cmd.Flags().StringVar(&p.to, "to", "", "the later `checkpoint`; the newest if it is not given")
	cmd.Flags().StringVarP(&p.file, "output", "o", "-", "`file` to write; - is standard output")
	return cmd
}

func (c *cli) auditProve(ctx context.Context, p proving) error {
	if (p.event == "") == (p.from == "") || p.event != "" && p.to != "" {
		return errors.New("audit prove: want --event ID, or --from A and perhaps --to B")
	}
	now := time.Now()
	from, err := mark("--from", p.from, now)
	if err != nil {
		return err
	}
	to, err := mark("--to", p.to, now)
	if err != nil {
		return err
	}
	if err := writable(p.file); err != nil {
		return err
	}
	prover, done, err := c.openProver(ctx, p.archive)
	if err != nil {
		return err
	}
	defer done()
	var proof *audit.Proof
	if p.event != "" {
		proof, err = prover.Event(ctx, p.event)
	} else {
		proof, err = prover.Consistency(ctx, from, to)
	}
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	return c.writeProof(p.file, proof)
}

// openProver opens the log and its checkpoints for reading.
func (c *cli) openProver(ctx context.Context, a archiveFlags) (*audit.Prover, func(), error) {
	need := needDatabase | needAudit
	if a.dir == "" {
		need |= needVault
	}
	cfg, err := c.config(ctx, need)
	if err != nil {
		return nil, nil, err
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	archive, done, err := c.openArchive(ctx, cfg, a.dir, a.pins)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	bar := newProgress(c.err, newLogger(c.err, cfg), "reading hashes")
	show := func(done, total int64) { bar.show(int(done), int(total)) }
	return &audit.Prover{DB: pool, Archive: archive, Progress: show}, func() { bar.done(); done(); pool.Close() }, nil
}

// mark reads what names a checkpoint.
func mark(flag, value string, now time.Time) (audit.Mark, error) {
	wrong := fmt.Errorf("%s %s: want a checkpoint's size, EPOCH/SIZE, or a time: RFC 3339, a date such as 2026-11-22, or a duration back such as 90d", flag, value)
	if value == "" {
		return audit.Mark{}, nil
	}
	epoch, size, given := strings.Cut(value, "/")
	if !given {
		epoch, size = "0", value
	}
	e, err := strconv.ParseUint(epoch, 10, 31)
	if err != nil || given && e == 0 {
		return audit.Mark{}, wrong
	}
	if n, err := strconv.ParseUint(size, 10, 63); err == nil && 0 < n && n < math.MaxInt64 {
		return audit.Mark{Epoch: int(e), Size: int64(n)}, nil
	}
	at, err := moment(flag, value, now)
	if err != nil || given {
		return audit.Mark{}, wrong
	}
	return audit.Mark{Time: at}, nil
}

// writeProof writes the proof; into a file, it then says what it shows.
func (c *cli) writeProof(file string, proof *audit.Proof) error {
	if file == "-" {
		if _, err := fmt.Fprint(c.out, proof.Text()); err != nil {
			return fmt.Errorf("writing the proof: %w", err)
		}
		return nil
	}
	if err := replaceFile(file, proof.Text()); err != nil {
		return fmt.Errorf("writing the proof to %s: %w", file, err)
	}
	if _, err := fmt.Fprintf(c.out, "%s: %s\n", file, statement(proof)); err != nil {
		return fmt.Errorf("writing what was proven: %w", err)
	}
	return nil
}

// replaceFile writes a file that is there whole, or as it was before. Proofs
// are for others to read.
func replaceFile(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.part")
	if err != nil {
		return err //nolint:wrapcheck // wrapped by the caller, as below
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil { // #nosec G302 -- see above
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // half a file, of no use
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return syncFolder(file)
}
