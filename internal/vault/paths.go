package vault

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

var (
	plain     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	own       = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)
	hashed    = regexp.MustCompile(`-[0-9a-f]{12}$`)
	forbidden = regexp.MustCompile(`[^a-z0-9._-]`)
)

// Component is the path component of a credential's name, a function of the
// name alone (DESIGN.md section 3): a plain lower-case name is its own
// component; any other is made plain, cut, and told apart from its likes by a
// hash. A plain name that already looks hashed is hashed again, so no two
// names share a component.
func Component(credential string) string {
	if own.MatchString(credential) && !hashed.MatchString(credential) {
		return credential
	}
	text := forbidden.ReplaceAllString(strings.ToLower(credential), "-")
	if len(text) > 80 {
		text = text[:80]
	}
	sum := sha256.Sum256([]byte(credential))
	return text + "-" + hex.EncodeToString(sum[:6])
}

// Path is where a credential lives below the mount:
// "<prefix>/<project id>/<component>". A project id that is no plain
// component is refused: it came from outside and could lead elsewhere.
func (s *Store) Path(project, credential string) (string, error) {
	if !plain.MatchString(project) {
		return "", fmt.Errorf("%w: project id %q is no plain path component", ErrRejected, project)
	}
	return s.prefix + "/" + project + "/" + Component(credential), nil
}

// plainPath says whether a path is plain components joined by "/", which
// Vault takes as they are.
func plainPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if !plain.MatchString(part) {
			return false
		}
	}
	return true
}

// projectOf is the project id in a path that Path has made, else "".
func (s *Store) projectOf(path string) string {
	rest, ok := strings.CutPrefix(path, s.prefix+"/")
	project, _, found := strings.Cut(rest, "/")
	if !ok || !found {
		return ""
	}
	return project
}

// label describes a request to one of KV's endpoints of a path.
func (s *Store) label(operation, endpoint, path, capabilities string) label {
	return label{
		operation: operation, path: path, project: s.projectOf(path),
		api: s.api(endpoint, path), capabilities: capabilities,
	}
}

// api is the API path of one of KV's endpoints: data, metadata, delete,
// destroy.
func (s *Store) api(endpoint, path string) string { return s.mount + "/" + endpoint + "/" + path }
