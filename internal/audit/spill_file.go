package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// prepareDir makes the directory, for our eyes only, and writes in it.
func prepareDir(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err //nolint:wrapcheck // names the directory itself
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err //nolint:wrapcheck // names the file itself
	}
	_, err = f.WriteString("\n")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// syncDir makes the making, renaming and removing of files in it survive a
// crash of the machine.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err //nolint:wrapcheck // names the directory itself
	}
	return errors.Join(f.Sync(), f.Close())
}

// lock takes the file's lock, which is held until it is closed, or reports
// false: another has it, or had it and has removed the file since we opened
// it. The system frees the lock of a process that dies.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return linked(f), nil
}

// linked reports whether the open file is still the one under its name.
func linked(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, named)
}
