package vault

import (
	"encoding/json"
	"sort"
	"time"

	"rotator/internal/secret"
)

// Data is what a credential's path holds.
type Data struct {
	ProjectID  string
	KeyID      string
	KeySecret  secret.Value
	CreatedAt  time.Time
	RotationID string
}

// Secret is one version of a path.
type Secret struct {
	Version   int
	CreatedAt time.Time // when the version was written
	Deleted   bool      // soft-deleted; Data is zero
	Destroyed bool      // gone for good; Data is zero
	Data      Data
	// Other names, sorted, what the version holds besides Data's fields, and
	// those of Data's fields that are no text or no time: signs of a writer
	// that is not rotator.
	Other []string
	// Custom is the path's custom metadata, the same for all versions.
	Custom map[string]string

	raw map[string]any // as read, for Rewrite
}

// fields is Data as Vault holds it.
func (d Data) fields() map[string]any {
	return map[string]any{
		"project_id":  d.ProjectID,
		"key_id":      d.KeyID,
		"key_secret":  d.KeySecret.Reveal(),
		"created_at":  d.CreatedAt.UTC().Format(time.RFC3339Nano),
		"rotation_id": d.RotationID,
	}
}

// equal compares all fields, the secret in constant time.
func (d Data) equal(o Data) bool {
	same := d.KeySecret.Equal(o.KeySecret)
	return same && d.ProjectID == o.ProjectID && d.KeyID == o.KeyID &&
		d.CreatedAt.Equal(o.CreatedAt) && d.RotationID == o.RotationID
}

// parseSecret reads a version, whoever wrote it: what does not fit is named
// in Other and never an error.
func parseSecret(answer map[string]any) Secret {
	meta, _ := answer["metadata"].(map[string]any)
	v := parseVersion(meta)
	s := Secret{
		Version: integer(meta["version"]), CreatedAt: v.CreatedAt, Destroyed: v.Destroyed,
		Custom: customMetadata(meta["custom_metadata"]),
	}
	raw, readable := answer["data"].(map[string]any)
	s.Deleted = !readable && v.deletion != ""
	if !readable || s.Destroyed {
		return s
	}
	s.raw = raw
	s.Data, s.Other = parseData(raw)
	return s
}

func parseData(raw map[string]any) (Data, []string) {
	var d Data
	var other []string
	for name, value := range raw {
		text, ok := value.(string)
		switch name {
		case "project_id":
			d.ProjectID = text
		case "key_id":
			d.KeyID = text
		case "key_secret":
			d.KeySecret = secret.New(text)
		case "rotation_id":
			d.RotationID = text
		case "created_at":
			t, err := time.Parse(time.RFC3339Nano, text)
			d.CreatedAt, ok = t, err == nil
		default:
			ok = false
		}
		if !ok {
			other = append(other, name)
		}
	}
	sort.Strings(other)
	return d, other
}

// customMetadata is custom metadata as Vault shows it; nil where there is none.
func customMetadata(v any) map[string]string {
	raw, _ := v.(map[string]any)
	if len(raw) == 0 {
		return nil
	}
	custom := make(map[string]string, len(raw))
	for name, value := range raw {
		custom[name], _ = value.(string)
	}
	return custom
}

func integer(v any) int {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(i)
}

func timestamp(v any) time.Time {
	text, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
