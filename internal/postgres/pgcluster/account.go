package pgcluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is an unprivileged user that Postgres runs as when we are root.
// The nil account is ourselves.
type account struct {
	name     string
	uid, gid int
}

// serverAccount picks the user to run Postgres as.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the account of ourselves
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid > 0 {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("running Postgres: it refuses root, and there is no user postgres or nobody to run it as")
}

// attributes start a process as the account, in a session of its own.
func (a *account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids fit
	}
	return attr
}

// own gives a file to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Lchown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("giving it to user %s: %w", a.name, err)
	}
	return nil
}

// tempDir makes a directory of the account's that it can reach: root's own
// temporary directory may be closed to it.
func (a *account) tempDir(pattern string) (string, error) {
	base := os.TempDir()
	if a.canReach(base) != nil {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, pattern)
	if err != nil {
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	return dir, a.own(dir)
}

// canReach reports whether the account may pass all the directories above
// path. Only the common case is judged: what "others" may do.
func (a *account) canReach(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("looking at the directories above: %w", err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		mine := ok && int(stat.Uid) == a.uid && info.Mode()&0o100 != 0
		if !mine && info.Mode()&0o001 == 0 {
			return fmt.Errorf("user %s, which Postgres runs as under root, cannot enter %s", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
