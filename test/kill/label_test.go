package kill_test

import (
	"net/http"
	"strings"

	"rotator/test/rig"
)

// sinchLabel says what a request to Sinch does; empty if it is no step of its
// own. own is the key that rotator works with; any other that asks for a token
// is a new one being verified.
func sinchLabel(own string) func(*http.Request) string {
	return func(r *http.Request) string {
		if user, _, ok := r.BasicAuth(); ok {
			if user == own {
				return ""
			}
			return "sinch: exchange of the new key's token"
		}
		at := rig.KeyPath.FindStringSubmatch(r.URL.Path)
		if at == nil {
			return ""
		}
		switch r.Method {
		case http.MethodPost:
			return "sinch: create in " + at[1]
		case http.MethodPatch:
			return "sinch: PATCH in " + at[1]
		case http.MethodDelete:
			return "sinch: DELETE in " + at[1]
		}
		if at[2] != "" {
			return "sinch: get in " + at[1]
		}
		return "sinch: list " + at[1]
	}
}

// logsOwn begins the labels of what the log keeps in Vault.
const logsOwn = "vault: put the log's "

// vaultLabel says what a request to Vault does; empty if it is no step of its
// own. prefix is the world's.
func vaultLabel(prefix string) func(*http.Request) string {
	return func(r *http.Request) string {
		rest, found := strings.CutPrefix(r.URL.Path, "/v1/secret/")
		kind, path, _ := strings.Cut(rest, "/")
		if document, found := strings.CutPrefix(path, "audit-"+prefix+"/"); found && r.Method != http.MethodGet {
			document, _, _ = strings.Cut(document, "/")
			return logsOwn + document // signing-key, keys, checkpoints
		}
		path, ours := strings.CutPrefix(path, prefix+"/")
		if !found || !ours {
			return ""
		}
		if r.Method == http.MethodGet && r.URL.Query().Has("version") {
			return "vault: read an old version of " + path
		}
		if r.Method == http.MethodGet {
			return "vault: read " + kind + " " + path
		}
		if kind == "data" && r.Method != http.MethodDelete {
			return "vault: write " + path
		}
		return "vault: " + kind + " " + path
	}
}
