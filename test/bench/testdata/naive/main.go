// Command naive is a straightforward rotation, one call after the other: what
// rotator is measured beside. It has no overlap, no verification, no lock, no
// log before the act, and loses a secret if it dies between two calls.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

var bearer string

func run(ctx context.Context) error {
	db, err := pgx.Connect(ctx, env("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close(ctx) //nolint:errcheck // the end
	var token struct {
		Text string `json:"access_token"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, env("SINCH_AUTH_URL"), strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		return err
	}
	req.SetBasicAuth(env("SINCH_KEY_ID"), env("SINCH_KEY_SECRET"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := send(req, &token); err != nil {
		return err
	}
	bearer = token.Text
	days, err := time.ParseDuration(env("MAX_AGE_DAYS") + "h")
	if err != nil {
		return err
	}
	var list struct {
		Subprojects []struct{ SubprojectID string }
	}
	if err := call(ctx, http.MethodGet, env("SINCH_SUBPROJECTS_URL")+"/v1/projects/"+env("SINCH_PROJECT_ID")+"/subprojects?pageSize=1000", nil, &list); err != nil {
		return err
	}
	for _, p := range list.Subprojects {
		if err := rotate(ctx, db, p.SubprojectID, 24*days); err != nil {
			return err
		}
	}
	return nil
}

// key is an access key.
type key struct {
	AccessKeyID, DisplayName string
	CreateTime               time.Time
}

func rotate(ctx context.Context, db *pgx.Conn, project string, maxAge time.Duration) error {
	keys := env("SINCH_ACCESS_KEYS_URL") + "/v1/projects/" + project + "/accessKeys"
	var list struct{ AccessKeys []key }
	if err := call(ctx, http.MethodGet, keys+"?pageSize=1000", nil, &list); err != nil {
		return err
	}
	for _, old := range list.AccessKeys {
		if time.Since(old.CreateTime) < maxAge {
			continue
		}
		var made struct {
			AccessKey key
			Secret    string
		}
		name := fmt.Sprintf("%s-%d", old.DisplayName, time.Now().UnixNano())
		if err := call(ctx, http.MethodPost, keys, map[string]string{"displayName": name}, &made); err != nil {
			return err
		}
		path := env("VAULT_ADDR") + "/v1/secret/data/" + env("VAULT_KV_PREFIX") + "/" + project + "/naive-" + old.AccessKeyID
		data := map[string]any{"data": map[string]string{"key_id": made.AccessKey.AccessKeyID, "key_secret": made.Secret}}
		if err := call(ctx, http.MethodPost, path, data, nil); err != nil {
			return err
		}
		if err := call(ctx, http.MethodDelete, keys+"/"+old.AccessKeyID, nil, nil); err != nil {
			return err
		}
		if _, err := db.Exec(ctx, "insert into public.naive values (now(), $1, $2, $3)", project, old.AccessKeyID, made.AccessKey.AccessKeyID); err != nil {
			return err
		}
	}
	return nil
}

func call(ctx context.Context, method, address string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		text = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("X-Vault-Token", env("VAULT_TOKEN"))
	return send(req, answer)
}

func send(req *http.Request, answer any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

func env(name string) string { return os.Getenv(name) }
