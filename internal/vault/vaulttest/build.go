package vaulttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// build returns the path of test/vaultserver's program, built if its sources
// have changed since the last time. Test processes run side by side: a lock
// file lets one of them build.
func build(ctx context.Context) (string, error) {
	root, err := moduleDir()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "test", "vaultserver")
	key, err := fingerprint(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache: %w", err)
	}
	dir := filepath.Join(cache, "rotator", "bin")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	program := filepath.Join(dir, "vaultserver-"+key)
	unlock, err := lock(program + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	// Under another name first: a build that is cut off leaves nothing.
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program+".new", ".") //nolint:gosec // all of it is ours
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", source, err, out)
	}
	if err := os.Rename(program+".new", program); err != nil {
		return "", fmt.Errorf("keeping the built server: %w", err)
	}
	return program, nil
}

// moduleDir finds the repository above the directory that tests run in.
func moduleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the sources: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module rotator\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no Vault server: set VAULT_TEST_ADDR, or install vault or bao, or run inside the repository")
		}
		dir = parent
	}
}

// fingerprint changes with whatever goes into the build.
func fingerprint(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", fmt.Errorf("listing the sources: %w", err)
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOARCH)
	for _, name := range append(names, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")) {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("reading the sources: %w", err)
		}
		fmt.Fprintln(hash, filepath.Base(name), len(text))
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}

// lock waits for the lock file. The system drops it with the process.
func lock(name string) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the lock: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
