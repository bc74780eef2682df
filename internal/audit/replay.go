package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrSpillDamaged means that a spill file held lines that are no events. Its
// others are in the log, the file was moved aside, and a person has to look at
// it. Permanent.
var ErrSpillDamaged = errors.New("spill file is damaged")

// Replayed is what became of one spill file.
type Replayed struct {
	File       string // its name, without the directory
	Events     int    // brought into the log
	Duplicates int    // not, because they were there already
	SHA256     string // of the whole file, hexadecimal
	// Torn says that the last line was cut off by a crash or a full disk and
	// dropped: nobody was told that it had been written.
	Torn bool
	// Kept says that the file stays, because no checkpoint could be made that
	// covers its events; the next replay finds them all there.
	Kept bool
}

// Replay brings into the log what stands in the spill files of processes that
// are gone, and in own (which may be nil) up to now; own lies in dir. Bodies
// are kept byte for byte, events that the log has already are left out, and
// one audit.spill_replayed for each file says what was done. A file is removed
// when all of it is committed and, where there are Anchors of this log, a
// checkpoint covers it. Any number of processes may replay at the same
// time, beside their writers.
//
// A damaged file is replayed as far as possible, moved aside and reported with
// ErrSpillDamaged; the others are replayed nevertheless. After ErrUnwritable
// the files that are not in the result are left for another time.
func (l *Log) Replay(ctx context.Context, dir string, own *Spill) ([]Replayed, error) {
	if paths, err := spillFiles(dir); err != nil || len(paths) == 0 {
		return nil, err
	}
	s := session{pool: l.cfg.Pool, timeout: l.cfg.Timeout}
	defer s.drop(ctx)
	conn, err := s.connectIn(ctx)
	if err != nil {
		return nil, fmt.Errorf("replaying spill files: %w: %w", ErrUnwritable, err)
	}
	if own != nil { // only now: while Postgres is away it keeps to one file
		err = own.giveOver()
	}
	paths, listing := spillFiles(dir)
	err = errors.Join(err, listing)
	var all []Replayed
	for _, path := range paths {
		done, one := l.replayFile(ctx, conn, path)
		if done != nil {
			all = append(all, *done)
		}
		if one != nil {
			err = errors.Join(err, fmt.Errorf("replaying spill file %s: %w", path, one))
		}
		if errors.Is(one, ErrUnwritable) {
			break
		}
	}
	return all, err
}

// connectIn is connect within the session's timeout.
func (s *session) connectIn(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, _, err := s.connect(ctx)
	return conn, err
}

// spillFiles lists the spill files of a directory.
func spillFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for spill files: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), spillPrefix) && strings.HasSuffix(e.Name(), spillSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// replayFile replays one file and puts it away. Nil and no error: there is
// nothing in it for us.
func (l *Log) replayFile(ctx context.Context, conn *pgx.Conn, path string) (*Replayed, error) {
	f, err := take(path)
	if f == nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // gives up the lock; nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("looking at a spill file: %w", err)
	}
	if info.Size() == 0 { // its process died before, or could not make, its first write
		return nil, putAway(path, "")
	}
	r := &replay{log: l, conn: conn, done: Replayed{File: filepath.Base(path)}}
	if err := r.file(ctx, f); err != nil {
		return nil, err
	}
	if l.anchored != nil {
		if err := l.anchored(ctx); err != nil {
			l.cfg.Logger.WarnContext(ctx, "spill file stays until a checkpoint covers it", slog.String("file", r.done.File), slog.Any("err", err))
			r.done.Kept = true
			return &r.done, nil
		}
	}
	if r.damage == nil {
		return &r.done, putAway(path, "")
	}
	aside := asidePath(path)
	if err := putAway(path, aside); err != nil {
		return &r.done, errors.Join(r.damage, err)
	}
	return &r.done, fmt.Errorf("%w: moved to %s, %d of its lines are not in the log: %w", ErrSpillDamaged, aside, r.damaged, r.damage)
}

// take opens and locks a spill file. It returns nil where its process lives
// or another replay was first.
func take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, fmt.Errorf("opening a spill file: %w", err)
	}
	locked, err := lock(f)
	if !locked {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// putAway removes a file, or renames it where it is still needed.
func putAway(path, aside string) error {
	remove := func() error { return os.Remove(path) }
	if aside != "" {
		remove = func() error { return os.Rename(path, aside) }
	}
	if err := remove(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// asidePath is a name at which no earlier damaged file is overwritten.
func asidePath(path string) string {
	if _, err := os.Lstat(path + ".bad"); errors.Is(err, fs.ErrNotExist) {
		return path + ".bad"
	}
	return path + "." + uuid.NewString() + ".bad"
}
