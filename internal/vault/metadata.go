package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"rotator/internal/call"
)

// valueLimit is Vault's limit for a value of custom metadata, in bytes.
const valueLimit = 512

// Metadata is what Vault knows of a path besides its data.
type Metadata struct {
	Current  int               // newest version's number, 0 if there is none
	Oldest   int               // oldest version's that is still listed; 0 as long as none fell off
	Custom   map[string]string // custom metadata
	Versions []VersionMeta     // ascending
}

// VersionMeta is one version in a path's metadata.
type VersionMeta struct {
	Number    int
	CreatedAt time.Time
	Deleted   bool // soft-deleted
	Destroyed bool

	deletion string
}

// Metadata returns a path's metadata, ErrNotFound if it has none.
func (s *Store) Metadata(ctx context.Context, path string) (Metadata, error) {
	answer, err := s.read(ctx, s.label(opRead, "metadata", path, `"read"`), func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ReadWithContext(ctx, s.api("metadata", path))
	})
	if err != nil {
		return Metadata{}, fmt.Errorf("reading metadata of %s: %w", path, err)
	}
	if answer == nil || answer.Data == nil {
		return Metadata{}, fmt.Errorf("reading metadata of %s: %w", path, ErrNotFound)
	}
	return parseMetadata(answer.Data, s.session.clock()), nil
}

// SetMetadata sets custom metadata of a path, which need not hold a version
// yet, and keeps what else is there. Nothing is sent when all of it is set
// already. Vault has no check-and-set here: of two writers at once the later
// wins. Values are made to fit: at most 512 bytes, printable; an empty one is
// left out, as Vault refuses it.
func (s *Store) SetMetadata(ctx context.Context, path string, custom map[string]string) error {
	now, err := s.Metadata(ctx, path)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	merged := maps.Clone(now.Custom)
	if merged == nil {
		merged = make(map[string]string, len(custom))
	}
	for name, value := range custom {
		if value = printable(value); value != "" {
			merged[name] = value
		}
	}
	if maps.Equal(merged, now.Custom) {
		return nil
	}
	_, err = s.write(ctx, s.label(opMetadata, "metadata", path, `"create", "read", "update"`), func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, s.api("metadata", path), map[string]any{"custom_metadata": merged})
	})
	if err != nil {
		return fmt.Errorf("writing metadata of %s: %w", path, err)
	}
	return nil
}

// List returns what is directly below a path, folders with a slash at the
// end; nothing where there is nothing.
func (s *Store) List(ctx context.Context, path string) ([]string, error) {
	path = strings.TrimSuffix(path, "/")
	answer, err := s.read(ctx, s.label(opRead, "metadata", path+"/", `"list"`), func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ListWithContext(ctx, s.api("metadata", path))
	})
	if errors.Is(err, ErrNotFound) || (err == nil && answer == nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	return texts(answer.Data["keys"]), nil
}

func parseMetadata(data map[string]any, now time.Time) Metadata {
	m := Metadata{
		Current: integer(data["current_version"]), Oldest: integer(data["oldest_version"]),
		Custom: customMetadata(data["custom_metadata"]),
	}
	versions, _ := data["versions"].(map[string]any)
	for number, raw := range versions {
		n, err := strconv.Atoi(number)
		fields, ok := raw.(map[string]any)
		if err != nil || !ok {
			continue
		}
		v := parseVersion(fields)
		v.Number = n
		// A deletion time in the future is delete_version_after's.
		v.Deleted = v.deletion != "" && !timestamp(v.deletion).After(now)
		m.Versions = append(m.Versions, v)
	}
	sort.Slice(m.Versions, func(i, j int) bool { return m.Versions[i].Number < m.Versions[j].Number })
	return m
}

func parseVersion(meta map[string]any) VersionMeta {
	v := VersionMeta{CreatedAt: timestamp(meta["created_time"])}
	v.Destroyed, _ = meta["destroyed"].(bool)
	v.deletion, _ = meta["deletion_time"].(string)
	return v
}

// printable is value as Vault accepts it.
func printable(value string) string {
	value = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(value, "\uFFFD"))
	return call.Clean(value, valueLimit)
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		if text, ok := item.(string); ok {
			out = append(out, text)
		}
	}
	return out
}
