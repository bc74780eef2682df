package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"rotator/internal/postgres"
)

// ErrNoBinaries means that there is no Postgres server to run. Its message
// says on one line what to install.
var ErrNoBinaries = errors.New("no Postgres server found: install version " + strconv.Itoa(postgres.MinVersion) +
	" or newer (apt-get install postgresql, dnf install postgresql-server, brew install postgresql@17)" +
	" or set POSTGRES_BIN to the folder that holds initdb and postgres")

// usualFolders are where packages put the server, as globs.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // PGDG's RPMs
	"/usr/libexec/postgresql*",          // Alpine
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // from source
}

// FindBinaries returns the folder of initdb and postgres: from PATH, else
// the newest of the usual folders, else of packages downloaded earlier, else
// of packages that it downloads now (Debian and Ubuntu). Its error matches
// ErrNoBinaries.
func FindBinaries(ctx context.Context, log *slog.Logger) (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil && usable(ctx, filepath.Dir(real)) >= postgres.MinVersion {
			return filepath.Dir(real), nil
		}
	}
	if dir := newest(ctx, usualFolders); dir != "" {
		return dir, nil
	}
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("%w (no folder to download it into: %w)", ErrNoBinaries, err)
	}
	return Download(ctx, cache, log)
}

// newest returns the folder with the highest version that works.
func newest(ctx context.Context, globs []string) string {
	best, bestVersion := "", postgres.MinVersion-1
	for _, glob := range globs {
		dirs, _ := filepath.Glob(glob) // the patterns are constants
		sort.Strings(dirs)
		for _, dir := range dirs {
			if v := usable(ctx, dir); v > bestVersion {
				best, bestVersion = dir, v
			}
		}
	}
	return best
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*.*)`)

// ServerVersion returns what the server in dir says of itself, such as
// "15.4 (Debian 15.4-1)".
func ServerVersion(ctx context.Context, dir string) (string, error) {
	text, _, err := version(ctx, dir)
	return text, err
}

func version(ctx context.Context, dir string) (text string, major int, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version") //nolint:gosec // what we are to find
	cmd.Env = libraryEnv(dir)
	out, err := cmd.Output()
	if err != nil {
		return "", 0, fmt.Errorf("asking the Postgres in %s for its version: %w", dir, err)
	}
	m := versionText.FindStringSubmatch(strings.TrimSpace(string(out)))
	if m == nil {
		return "", 0, fmt.Errorf("asking the Postgres in %s for its version: it answers %.80q", dir, out)
	}
	major, err = strconv.Atoi(m[2])
	if err != nil {
		return "", 0, fmt.Errorf("reading the version %q: %w", m[1], err)
	}
	return m[1], major, nil
}

// usable returns the major version of a complete server in dir, else 0.
func usable(ctx context.Context, dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0
	}
	_, major, err := version(ctx, dir)
	if err != nil {
		return 0 // it does not run here, which is all that matters
	}
	return major
}

// libraryEnv is where the programs in dir find their libraries, when dir is
// part of packages unpacked below some root other than "/".
func libraryEnv(dir string) []string {
	root, _, found := strings.Cut(dir, "/usr/lib/postgresql/")
	if !found || root == "" {
		return nil
	}
	return []string{"LD_LIBRARY_PATH=" + strings.Join(libraryDirs(root), ":")}
}

// libraryDirs are the folders of shared libraries below a root.
func libraryDirs(root string) []string {
	dirs := []string{filepath.Join(root, "usr/lib"), filepath.Join(root, "lib")}
	for _, glob := range []string{"usr/lib/*-linux-*", "lib/*-linux-*"} {
		found, _ := filepath.Glob(filepath.Join(root, glob)) // a constant pattern
		dirs = append(dirs, found...)
	}
	return dirs
}

// cacheDir is where downloads go. Root's own cache may be closed to the user
// that Postgres runs as, so root has a place for the whole machine.
func cacheDir() (string, error) {
	a, err := serverAccount()
	if err != nil {
		return "", err
	}
	base, err := os.UserCacheDir()
	switch {
	case err == nil && a.canReach(filepath.Join(base, "rotator")) == nil:
		return filepath.Join(base, "rotator", "postgres"), nil
	case a != nil:
		return "/var/cache/rotator/postgres", nil
	default:
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
}
