package kill_test

import "strings"

// changing tells the steps that change something from mere reads; every commit
// changes something.
func changing(label string) bool {
	return !strings.HasPrefix(label, "vault: read") && !strings.HasPrefix(label, "sinch: get") &&
		!strings.HasPrefix(label, "sinch: list")
}

// worth keeps the steps at which to kill: those that change something, and each
// first look at a path after it was written, the reading back.
func worth(passed []step) []step {
	var kept []step
	written := "" // the path that was written last
	for _, s := range passed {
		if path, ok := strings.CutPrefix(s.label, "vault: write "); ok {
			written = path
		}
		if readBack := s.label == "vault: read data "+written; readBack || changing(s.label) {
			kept = append(kept, s)
			if readBack {
				written = ""
			}
		}
	}
	return kept
}
