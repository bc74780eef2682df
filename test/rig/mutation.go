package rig

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// intents names what each intent in the log would change, as sinchMutation
// and vaultMutation name requests.
const intents = `select case when operation like 'vault.%'
		then concat_ws('|', operation, body->>'vault_path', coalesce(body->>'vault_version', '0'))
		else concat_ws('|', operation, project_id, coalesce(key_id, ''), coalesce(body->>'display_name', '')) end as what,
		occurred_at, call_id from audit.event where phase = 'intent'`

// KeyPath matches the paths of access keys: its groups are the project and,
// if there is one, the key.
var KeyPath = regexp.MustCompile(`^/v1/projects/([^/]+)/accessKeys(?:/([^/]+))?$`)

var sinchOperations = map[string]string{
	http.MethodPost: "access_keys.create", http.MethodPatch: "access_keys.update", http.MethodDelete: "access_keys.delete",
}

// sinchMutation names what a request to Sinch would change, as the intents are
// named.
func sinchMutation(r *http.Request, body []byte) string {
	at := KeyPath.FindStringSubmatch(r.URL.Path)
	op := sinchOperations[r.Method]
	if at == nil || op == "" {
		return ""
	}
	var asked struct{ DisplayName string }
	_ = json.Unmarshal(body, &asked)
	return strings.Join([]string{op, at[1], at[2], asked.DisplayName}, "|")
}

var vaultOperations = map[string]string{
	"data": "vault.write", "metadata": "vault.metadata", "delete": "vault.delete", "destroy": "vault.destroy",
}

// Mutates says whether an operation changes something.
func Mutates(operation string) bool {
	for _, of := range []map[string]string{sinchOperations, vaultOperations} {
		for _, op := range of {
			if op == operation {
				return true
			}
		}
	}
	return false
}

// vaultMutation does the same for Vault's mount secret/.
func vaultMutation(r *http.Request, body []byte) string {
	rest, found := strings.CutPrefix(r.URL.Path, "/v1/secret/")
	if !found || r.Method == http.MethodGet {
		return ""
	}
	kind, path, _ := strings.Cut(rest, "/")
	var asked struct{ Options struct{ CAS int } }
	_ = json.Unmarshal(body, &asked)
	return strings.Join([]string{vaultOperations[kind], path, strconv.Itoa(asked.Options.CAS)}, "|")
}

// Publishing accepts writes of a credential's path in Vault.
func Publishing(credential string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/secret/data/") &&
			strings.HasSuffix(r.URL.Path, "/"+credential)
	}
}

// Vouched reports whether the log has the nth intent for a request that
// arrives now. While Postgres is away the answer is yes: see CheckSent.
func (w *World) Vouched(what string, nth int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n int
	err := w.DB.QueryRow(ctx, `select count(*) from (`+intents+`) i where what = $1`, what).Scan(&n)
	return err != nil || n >= nth
}
