package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// A spill file is spillPrefix, the process, perhaps a dot and a UUID, and
// spillSuffix. Whoever writes or replays it holds its lock.
const (
	spillPrefix = "spill-"
	spillSuffix = ".jsonl"
)

// Spill keeps outcomes on this host's disk while Postgres cannot be written,
// one event a line, until Log.Replay has brought them into the log. Its
// methods may be called concurrently.
//
// Only what Append or Commit has answered with an error may be spilled: an
// event that still waits in the log's queue could be replayed and appended.
type Spill struct {
	dir, process string

	mu       sync.Mutex // guards what follows
	closed   bool
	file     *os.File // locked; nil until the first write, and after release
	size     int64    // of the file, up to the end of its last whole line
	released []string // files given over to replay, perhaps not replayed yet
}

// OpenSpill makes the directory where it is missing and proves that it can be
// written. The process names the file and should differ from that of every
// other process with the same directory. There is no file before the first
// Write.
func OpenSpill(dir, process string) (*Spill, error) {
	name := spillPrefix + process + spillSuffix
	if process == "" || filepath.Base(name) != name || strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("naming the spill file: %q cannot be part of a file's name", process)
	}
	if err := prepareDir(dir); err != nil {
		return nil, fmt.Errorf("spill directory %s cannot be written, set AUDIT_SPILL_DIR to one that can: %w", dir, err)
	}
	return &Spill{dir: dir, process: process}, nil
}

// Write stores events, all or none; they are on the disk when it returns nil.
// They must have been stamped (Log.Stamp): by its id an event that was
// committed after all is told from one that was not. An intent is refused with
// ErrInvalid, like whatever could not be replayed: a call whose intent is not
// in the log must not be made.
func (s *Spill) Write(events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	var lines []byte
	for _, e := range events {
		body, err := e.Marshal()
		if err != nil {
			return err
		}
		if _, err := parseLine(body); err != nil {
			return fmt.Errorf("spilling %s: %w", e.Type, err)
		}
		lines = append(append(lines, body...), '\n')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.append(lines); err != nil {
		return fmt.Errorf("spilling audit events: %w", err)
	}
	return nil
}

// append takes back what stands of lines when they do not fit: the next ones
// must not be glued to a torn line. Where even that fails the torn line stays
// the last one of its file.
func (s *Spill) append(lines []byte) error {
	if err := s.ready(); err != nil {
		return err
	}
	_, err := s.file.Write(lines)
	if err == nil {
		err = s.file.Sync() // some filesystems find only now that they are full
	}
	if err == nil {
		s.size += int64(len(lines))
		return nil
	}
	if back := s.file.Truncate(s.size); back != nil {
		return errors.Join(err, back, s.release())
	}
	return err //nolint:wrapcheck // names the file itself
}

// ready makes the file where there is none, or none any more: what is written
// to a file that somebody has removed is lost.
func (s *Spill) ready() error {
	if s.closed {
		return fs.ErrClosed
	}
	if s.file != nil {
		if linked(s.file) {
			return nil
		}
		_ = s.file.Close() // nothing in it can be found again
		s.file, s.size = nil, 0
	}
	return s.create()
}

// create makes a new file. The plain name may belong to a predecessor of our
// name that nobody has replayed yet; and between its creation and its lock a
// replay may take our file for an empty one that a dead process left.
func (s *Spill) create() error {
	name := spillPrefix + s.process + spillSuffix
	for range 4 {
		f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_RDWR, 0o600)
		name = spillPrefix + s.process + "." + uuid.NewString() + spillSuffix
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err //nolint:wrapcheck // names the file itself
		}
		if locked, err := lock(f); !locked {
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			continue
		}
		if err := syncDir(s.dir); err != nil {
			return errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		s.file, s.size = f, 0
		return nil
	}
	return errors.New("making a spill file: every name was taken")
}

// Empty reports whether nothing that was written waits for a replay.
func (s *Spill) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = slices.DeleteFunc(s.released, func(path string) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	return s.size == 0 && len(s.released) == 0
}

// Close ends writing. The file stays for a replay, by whatever process.
func (s *Spill) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.release()
}

// giveOver leaves what was written so far to replay; what is written from now
// on goes to another file.
func (s *Spill) giveOver() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		return nil
	}
	return s.release()
}

// release closes the file and so gives up its lock.
func (s *Spill) release() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file, s.size, s.released = nil, 0, append(s.released, f.Name())
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing the spill file: %w", err)
	}
	return nil
}
