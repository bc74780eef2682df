package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"rotator/internal/postgres"
)

// unpackedBin finds the server in a root that packages were unpacked into.
const unpackedBin = "usr/lib/postgresql/*/bin"

// Download returns the server's folder in a directory of downloaded
// packages. What is missing there it gets on Debian and Ubuntu, root or not,
// without installing anything: apt-get downloads the packages, dpkg unpacks
// them. Any number of processes may do so at once. Errors match
// ErrNoBinaries.
func Download(ctx context.Context, cache string, log *slog.Logger) (string, error) {
	if dir := newest(ctx, []string{filepath.Join(cache, "*", unpackedBin)}); dir != "" {
		return dir, nil
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg", "dpkg-query", "ldd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", ErrNoBinaries
		}
	}
	dir, err := downloadLocked(ctx, cache, log)
	if err != nil {
		return "", fmt.Errorf("%w; downloading its packages failed: %w", ErrNoBinaries, err)
	}
	return dir, nil
}

func downloadLocked(ctx context.Context, cache string, log *slog.Logger) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // another user runs what is in it
		return "", fmt.Errorf("making the cache directory: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	// Another process may have been here while we waited.
	if dir := newest(ctx, []string{filepath.Join(cache, "*", unpackedBin)}); dir != "" {
		return dir, nil
	}
	log.InfoContext(ctx, "downloading Postgres packages", "dir", cache)
	dir, err := unpack(ctx, cache, apt{})
	if err == nil {
		return dir, nil
	}
	// The machine's package lists are missing, or so old that the archive
	// has moved on. Fetch lists of our own; the machine's stay untouched.
	log.InfoContext(ctx, "fetching package lists", "err", err)
	own, updateErr := ownLists(ctx, filepath.Join(cache, "apt"))
	if updateErr != nil {
		return "", errors.Join(err, updateErr)
	}
	return unpack(ctx, cache, own)
}

// unpack puts the server and the libraries that the machine lacks into a new
// root, which appears in the cache only when it works.
func unpack(ctx context.Context, cache string, a apt) (string, error) {
	server, err := a.serverPackage(ctx)
	if err != nil {
		return "", err
	}
	building, err := os.MkdirTemp(cache, ".building-")
	if err != nil {
		return "", fmt.Errorf("making a directory in the cache: %w", err)
	}
	defer os.RemoveAll(building)                      //nolint:errcheck // gone when all went well
	if err := os.Chmod(building, 0o755); err != nil { //nolint:gosec // another user runs what is in it
		return "", fmt.Errorf("opening the directory in the cache: %w", err)
	}
	if err := a.fill(ctx, building, server); err != nil {
		return "", err
	}
	if newest(ctx, []string{filepath.Join(building, unpackedBin)}) == "" {
		return "", fmt.Errorf("package %s holds no server of version %d or newer that runs here", server, postgres.MinVersion)
	}
	root := filepath.Join(cache, server)
	if err := os.RemoveAll(root); err != nil { // one that does not run any more
		return "", fmt.Errorf("removing an old download: %w", err)
	}
	if err := os.Rename(building, root); err != nil {
		return "", fmt.Errorf("moving the download into place: %w", err)
	}
	dir := newest(ctx, []string{filepath.Join(root, unpackedBin)})
	return dir, nil
}

// lockFile takes an exclusive lock that ends with the process at the latest.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the cache's lock: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking the cache: %w", err), f.Close())
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, errors.Join(fmt.Errorf("waiting for another download: %w", err), f.Close())
		}
	}
}
