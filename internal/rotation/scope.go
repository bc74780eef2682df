package rotation

// Scope says which credentials rotator may touch. The zero Scope contains
// nothing: scope is always explicit.
type Scope struct {
	Include []Pattern
	Exclude []Pattern
}

// Contains reports whether the credential of project p is in scope: included
// and not excluded.
func (s Scope) Contains(p Project, credential string) bool {
	return matchesAny(s.Include, p, credential) && !matchesAny(s.Exclude, p, credential)
}

func matchesAny(patterns []Pattern, p Project, credential string) bool {
	for _, pattern := range patterns {
		if pattern.Match(p, credential) {
			return true
		}
	}
	return false
}
