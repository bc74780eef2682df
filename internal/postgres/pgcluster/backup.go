package pgcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Backup takes a base backup of the running cluster and returns its home,
// which can be the Template of another cluster. With standby, that cluster
// follows this one until it is promoted. The directory goes with the cluster.
func (c *Cluster) Backup(ctx context.Context, standby bool) (home string, err error) {
	if home, err = c.owner.tempDir("rotator-pg-backup-"); err != nil {
		return "", fmt.Errorf("making the backup's directory: %w", err)
	}
	c.temporary = append(c.temporary, home)
	args := []string{
		"--pgdata=" + filepath.Join(home, "data"), "--host=" + c.socketDir, "--port=" + port,
		"--username=" + c.opts.Superuser, "--checkpoint=fast", "--wal-method=stream", "--no-sync",
	}
	if standby {
		args = append(args, "--write-recovery-conf")
	}
	cmd := c.command(ctx, "pg_basebackup", args...)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+c.password.Reveal())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("running pg_basebackup: %w: %s", err, tail(out))
	}
	if err := os.WriteFile(filepath.Join(home, "password"), []byte(c.password.Reveal()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the superuser's password: %w", err)
	}
	return home, nil
}
