package pgcluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"rotator/internal/secret"
)

// socketPathLimit is the shortest limit of the systems we know (macOS), in
// bytes, for a Unix socket's path.
const socketPathLimit = 103

// makeDirs makes the cluster's home and finds a place for its socket.
func (c *Cluster) makeDirs() error {
	c.home = c.opts.Dir
	if c.home == "" {
		dir, err := c.owner.tempDir("rotator-pg-")
		if err != nil {
			return err
		}
		c.home = dir
		if !c.opts.KeepDir {
			c.temporary = append(c.temporary, dir)
		}
	}
	home, err := filepath.Abs(c.home)
	if err != nil {
		return err //nolint:wrapcheck // Start wraps it
	}
	c.home, c.socketDir = home, home
	if err := os.MkdirAll(c.home, 0o700); err != nil {
		return err //nolint:wrapcheck // Start wraps it
	}
	if err := c.owner.own(c.home); err != nil {
		return err
	}
	if len(filepath.Join(c.home, ".s.PGSQL."+port)) > socketPathLimit {
		if c.socketDir, err = c.owner.tempDir("rotator-s-"); err != nil {
			return err
		}
		c.temporary = append(c.temporary, c.socketDir)
	}
	return c.owner.canReach(c.home)
}

// create fills an empty home; it leaves an existing cluster alone.
func (c *Cluster) create(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(c.dataDir(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if c.opts.Template != "" {
			err = c.copyTemplate()
		} else {
			err = c.initdb(ctx)
		}
	}
	if err != nil {
		return err
	}
	password, err := os.ReadFile(c.passwordPath())
	if err != nil {
		return fmt.Errorf("reading the superuser's password: %w", err)
	}
	c.password = secret.New(strings.TrimSpace(string(password)))
	return nil
}

// initdb makes a new cluster. The password goes through a file, because
// process arguments are public.
func (c *Cluster) initdb(ctx context.Context) error {
	if err := os.WriteFile(c.passwordPath(), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the superuser's password: %w", err)
	}
	if err := c.owner.own(c.passwordPath()); err != nil {
		return err
	}
	cmd := c.command(ctx, "initdb", "--pgdata="+c.dataDir(), "--username="+c.opts.Superuser,
		"--pwfile="+c.passwordPath(), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
		"--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, tail(out))
	}
	return nil
}

// copyTemplate copies another cluster's data and password.
func (c *Cluster) copyTemplate() error {
	password, err := os.ReadFile(filepath.Join(c.opts.Template, "password"))
	if err != nil {
		return fmt.Errorf("reading the template's password: %w", err)
	}
	if err := os.CopyFS(c.dataDir(), os.DirFS(filepath.Join(c.opts.Template, "data"))); err != nil {
		return fmt.Errorf("copying the template: %w", err)
	}
	if err := os.WriteFile(c.passwordPath(), password, 0o600); err != nil {
		return fmt.Errorf("writing the superuser's password: %w", err)
	}
	if err := filepath.WalkDir(c.home, c.claim); err != nil {
		return fmt.Errorf("claiming the copy: %w", err)
	}
	return nil
}

// claim gives one copied file to the owner. CopyFS makes directories for
// everybody, while Postgres insists on its own.
func (c *Cluster) claim(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if d.IsDir() {
		if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory
			return err //nolint:wrapcheck // names the path itself
		}
	}
	return c.owner.own(path)
}

// tail is the end of a program's output, on one line.
func tail(out []byte) string {
	text := strings.Join(strings.Fields(string(out)), " ")
	return text[max(0, len(text)-logTail):]
}
