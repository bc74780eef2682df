package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres"
)

// disclosing is a command that takes something out of the audit log: it reads,
// writes a file or standard output, and logs that it did, where it may.
type disclosing struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	id     string // of the event that will log it; empty where the role may not append
	log    *audit.Log
	file   string // - is standard output
	out    io.Writer
}

// openDisclosure opens the database, and the log if its role may append to it;
// if not, it warns. Close it.
func (c *cli) openDisclosure(ctx context.Context, need needs, file string) (*disclosing, error) {
	if err := writable(file); err != nil {
		return nil, err
	}
	cfg, err := c.config(ctx, need)
	if err != nil {
		return nil, err
	}
	d := &disclosing{logger: newLogger(c.err, cfg), file: file, out: c.out}
	if d.pool, err = openPool(ctx, cfg); err != nil {
		return nil, err
	}
	if err := d.openLog(ctx, cfg); err != nil {
		d.close(ctx)
		return nil, err
	}
	return d, nil
}

func (d *disclosing) openLog(ctx context.Context, cfg *config) error {
	may, err := audit.MayAppend(ctx, d.pool)
	if err != nil {
		return unreadable(ctx, d.pool, err)
	}
	if !may {
		d.logger.WarnContext(ctx, "this is not logged: the database role may not append to the audit log, or the database is read-only")
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding out this host's name: %w", err)
	}
	d.log, err = audit.Open(ctx, audit.Config{
		Pool: d.pool, Logger: d.logger,
		Common: audit.Event{Actor: cfg.Process.Actor, Host: host, Build: buildName(), ConfigSHA256: cfg.sha256()},
	})
	if err != nil {
		return unreadable(ctx, d.pool, err)
	}
	d.id = audit.NewDisclosureID()
	return nil
}

func (d *disclosing) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if d.log != nil {
		if err := d.log.Close(ctx); err != nil {
			d.logger.ErrorContext(ctx, "audit log not closed cleanly", "err", jobs.Message(err))
		}
	}
	d.pool.Close()
}

// deliver lets write its data, logs that, and only then puts the file in its
// place: whatever fails, there is no file that is not whole or not logged.
// What went to standard output cannot be taken back; the error says so.
func (d *disclosing) deliver(ctx context.Context, write func(io.Writer) (audit.Disclosure, error)) error {
	if d.file == "-" {
		signal.Ignore(syscall.SIGPIPE) // so that a reader who went away is an error to report
		out := &outlet{w: d.out}
		data, err := write(out)
		if err := d.failure(ctx, out, "standard output", err); err != nil {
			return err
		}
		return d.record(ctx, data)
	}
	f, err := os.CreateTemp(filepath.Dir(d.file), "."+filepath.Base(d.file)+".*.part") // 0600
	if err != nil {
		return fmt.Errorf("-o %s: %w", d.file, err)
	}
	kept := false
	defer func() {
		_ = f.Close() // twice after success
		if !kept {
			_ = os.Remove(f.Name()) // half a file, of no use
		}
	}()
	out := &outlet{w: f}
	data, err := write(out)
	if err == nil {
		out.err = errors.Join(f.Sync(), f.Close())
		err = out.err
	}
	if err := d.failure(ctx, out, d.file, err); err != nil {
		return err
	}
	if err := d.record(ctx, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), d.file); err != nil {
		return down(fmt.Errorf("writing %s: %w", d.file, err))
	}
	kept = true
	return syncFolder(d.file)
}

// record logs what was written.
func (d *disclosing) record(ctx context.Context, data audit.Disclosure) error {
	if d.log == nil {
		return nil
	}
	if err := d.log.Append(ctx, data.Event()); err != nil {
		return down(fmt.Errorf("logging what was read out of the audit log: %w", err))
	}
	return nil
}

// failure sorts an error of writing: the output's, the database's, or that of
// what stands in the log.
func (d *disclosing) failure(ctx context.Context, out *outlet, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case out.err != nil:
		return down(fmt.Errorf("writing %s: %w", name, out.err))
	case ctx.Err() != nil:
		return down(fmt.Errorf("writing %s: interrupted, it is not complete", name))
	case errors.Is(err, audit.ErrBody), errors.Is(err, audit.ErrFilter):
		return err
	}
	if err = unreadable(ctx, d.pool, err); errors.Is(err, postgres.ErrSchemaBehind) {
		return err
	}
	return down(err)
}

// outlet remembers that writing failed: what comes back through other writers
// does not say whose fault it was.
type outlet struct {
	w   io.Writer
	err error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.err = err
	}
	return n, err //nolint:wrapcheck // wrapped by failure
}

// writable makes sure that a file can take the place of what has its name:
// renaming over a device would remove it.
func writable(file string) error {
	if file == "-" {
		return nil
	}
	info, err := os.Lstat(file)
	switch {
	case file == "":
		return errors.New("-o: want the name of a file, or - for standard output")
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("-o %s: %w", file, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("-o %s: it is no regular file, and would be replaced by one; want another name, or - for standard output", file)
	}
	return nil
}

// syncFolder makes a new name in a folder outlive a crash of the machine.
func syncFolder(file string) error {
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("keeping %s: %w", file, err)
	}
	err = errors.Join(folder.Sync(), folder.Close())
	if err != nil {
		return fmt.Errorf("keeping %s: %w", file, err)
	}
	return nil
}
