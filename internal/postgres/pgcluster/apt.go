package pgcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rotator/internal/postgres"
)

// libraryRounds limits how deep libraries' own libraries are followed.
const libraryRounds = 6

// apt is Debian's package tool with a choice of package lists.
type apt struct{ options []string }

// ownLists fetches package lists into a directory of ours, from the sources
// that the machine is configured for.
func ownLists(ctx context.Context, dir string) (apt, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil { //nolint:gosec // as apt has it
			return apt{}, fmt.Errorf("making directories for package lists: %w", err)
		}
	}
	a := apt{options: []string{
		"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "APT::Sandbox::User=root", // its usual one cannot write here
	}}
	_, err := a.run(ctx, "", "apt-get", "update")
	return a, err
}

var serverDependency = regexp.MustCompile(`(?m)^\s*\|?Depends: postgresql-(\d+)$`)

// serverPackage returns the server's package, such as postgresql-15: what
// the package postgresql stands for in this release.
func (a apt) serverPackage(ctx context.Context) (string, error) {
	out, err := a.run(ctx, "", "apt-cache", "depends", "postgresql")
	if err != nil {
		return "", err
	}
	m := serverDependency.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("no package postgresql in the package lists")
	}
	if major, err := strconv.Atoi(m[1]); err != nil || major < postgres.MinVersion {
		return "", fmt.Errorf("this release packages Postgres %s only", m[1])
	}
	return "postgresql-" + m[1], nil
}

// fill unpacks the server into root, and then, in rounds, the libraries that
// its dependencies name, until the dynamic linker misses none.
func (a apt) fill(ctx context.Context, root, server string) error {
	round := []string{server, strings.Replace(server, "postgresql", "postgresql-client", 1), "libpq5"}
	seen := slices.Clone(round)
	for range libraryRounds {
		if err := a.get(ctx, root, round); err != nil {
			return err
		}
		missing, err := missingLibraries(ctx, root)
		if err != nil || len(missing) == 0 {
			return err
		}
		round = a.libraryPackages(ctx, round, seen)
		if len(round) == 0 {
			return fmt.Errorf("no package found for the libraries %s", strings.Join(missing, ", "))
		}
		seen = append(seen, round...)
	}
	return fmt.Errorf("libraries are still missing after %d rounds", libraryRounds)
}

// get downloads packages and unpacks them.
func (a apt) get(ctx context.Context, root string, packages []string) error {
	debs, err := os.MkdirTemp(filepath.Dir(root), ".debs-")
	if err != nil {
		return fmt.Errorf("making a directory for packages: %w", err)
	}
	defer os.RemoveAll(debs) //nolint:errcheck // only a cache
	if _, err := a.run(ctx, debs, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	files, _ := filepath.Glob(filepath.Join(debs, "*.deb")) // a constant pattern
	for _, file := range files {
		if _, err := a.run(ctx, debs, "dpkg", "-x", file, root); err != nil {
			return err
		}
	}
	return nil
}

var libraryDependency = regexp.MustCompile(`(?m)^\s*\|?Depends: (lib[a-z0-9.+-]+)$`)

// libraryPackages returns the libraries that packages depend on, without
// those that are installed, known already, or only for compiling queries,
// which stays off.
func (a apt) libraryPackages(ctx context.Context, packages, seen []string) []string {
	var found []string
	for _, p := range packages {
		out, err := a.run(ctx, "", "apt-cache", "depends", p)
		if err != nil {
			continue // what is missing will be named by the linker
		}
		for _, m := range libraryDependency.FindAllStringSubmatch(out, -1) {
			name := m[1]
			if slices.Contains(seen, name) || slices.Contains(found, name) || strings.HasPrefix(name, "libllvm") {
				continue
			}
			status, err := a.run(ctx, "", "dpkg-query", "-W", "-f", "${db:Status-Status}", name)
			if err != nil || status != "installed" {
				found = append(found, name)
			}
		}
	}
	return found
}

// run runs a tool and returns what it says. Its messages are English,
// because they are parsed.
func (a apt) run(ctx context.Context, dir, tool string, args ...string) (string, error) {
	if strings.HasPrefix(tool, "apt-") {
		args = append(slices.Clone(a.options), args...)
	}
	cmd := exec.CommandContext(ctx, tool, args...) //nolint:gosec // tools and arguments are ours
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "LANGUAGE=C")
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as os/exec documents it
			stderr = exit.Stderr
		}
		return "", fmt.Errorf("running %s: %w: %s", tool, err, tail(stderr))
	}
	return string(out), nil
}

var missingLibrary = regexp.MustCompile(`(?m)^\s*(\S+) => not found$`)

// missingLibraries asks the dynamic linker what the server in root lacks.
func missingLibraries(ctx context.Context, root string) ([]string, error) {
	var programs []string
	for _, name := range []string{"bin/postgres", "bin/initdb", "bin/psql", "lib/plpgsql.so", "lib/dict_snowball.so"} {
		found, _ := filepath.Glob(filepath.Join(root, "usr/lib/postgresql/*", name)) // a constant pattern
		programs = append(programs, found...)
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("the packages hold no server")
	}
	cmd := exec.CommandContext(ctx, "ldd", programs...) //nolint:gosec // paths are ours
	cmd.Env = append(append(cmd.Environ(), "LC_ALL=C"), libraryEnv(filepath.Dir(programs[0]))...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running ldd: %w", err)
	}
	var missing []string
	for _, m := range missingLibrary.FindAllStringSubmatch(string(out), -1) {
		missing = append(missing, m[1])
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}
