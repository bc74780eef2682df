package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
)

func (c *cli) auditPubkeyCommand() *cobra.Command {
	var from archiveFlags
	var output string
	cmd := judging(&cobra.Command{
		Use:   "pubkey",
		Short: "Prints the public keys that checkpoints of the audit log are signed with",
		Long: `Prints the verifier keys, one a line, the newest last. Each is vouched for by
the one before: who pins any of them (AUDIT_VERIFIER_KEYS, --verifier-key)
trusts those that follow it, too.

What is printed was read from where the checkpoints are. An auditor should get
it another way as well, from the people who run rotator, once, and compare.
Nothing is written.

Exit codes: 0 printed; 2 Vault or the directory could not be read; 3 nothing
has been signed yet.`,
		Example: `  rotator audit pubkey
  AUDIT_VERIFIER_KEYS=$(rotator audit pubkey | paste -sd,)`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return judged(err)
			}
			return judged(c.auditPubkey(cmd.Context(), from, output))
		},
	})
	from.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table (a key a line) or json")
	return cmd
}

// publicKey is one key, for `audit pubkey -o json`.
type publicKey struct {
	VerifierKey string  `json:"verifier_key"`
	Signer      *string `json:"signer"`   // where its private half is; null if it has not signed here
	Previous    *string `json:"previous"` // the key that vouches for it; null for the first
	Newest      bool    `json:"newest"`
}

func (c *cli) auditPubkey(ctx context.Context, from archiveFlags, output string) error {
	need := needAudit
	if from.dir == "" {
		need |= needVault
	}
	cfg, err := c.config(ctx, need)
	if err != nil {
		return err
	}
	archive, done, err := c.openArchive(ctx, cfg, from.dir, from.pins)
	if err != nil {
		return err
	}
	defer done()
	chain := archive.Keys.Chain()
	for _, key := range archive.Keys.Strangers() {
		fmt.Fprintf(c.err, "A key is there that nobody vouches for, do not pin it unasked: %s\n", plain(key))
	}
	if len(chain) == 0 {
		return fmt.Errorf("%w: there is no key yet; the first run of rotator makes it", audit.ErrUnprovable)
	}
	if err := c.printKeys(chain, output); err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	fmt.Fprintln(c.err, "Compare them with what the people who run rotator say, then pin them: AUDIT_VERIFIER_KEYS=KEY,… or --verifier-key KEY.")
	return nil
}

func (c *cli) printKeys(chain []audit.ChainedKey, output string) error {
	if output == "json" {
		shown := make([]publicKey, len(chain))
		for i, key := range chain {
			shown[i] = publicKey{key.Key, optionalText(key.Signer), optionalText(key.Previous), i == len(chain)-1}
		}
		return printJSON(c.out, shown)
	}
	var errs []error
	for _, key := range chain {
		_, err := fmt.Fprintln(c.out, key.Key)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func optionalText(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
