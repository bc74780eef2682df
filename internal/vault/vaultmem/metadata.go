package vaultmem

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Vault's limits for custom metadata.
const (
	maxCustomKeys  = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

func (s *Server) readMetadata(key string) response {
	e := s.entries[key]
	if e == nil {
		return refuse(http.StatusNotFound)
	}
	versions := map[string]any{}
	for n, v := range e.versions {
		versions[strconv.Itoa(n)] = v.describe()
	}
	return response{data: map[string]any{
		"current_version": e.current, "oldest_version": e.oldest, "versions": versions,
		"created_time": stamp(e.created), "updated_time": stamp(e.updated),
		"custom_metadata": e.customOrNil(), "max_versions": 0, "cas_required": false, "delete_version_after": "0s",
	}}
}

func (s *Server) writeMetadata(key string, body map[string]any, patch bool) response {
	e := s.entries[key]
	if e == nil && patch {
		return refuse(http.StatusNotFound)
	}
	raw, given := body["custom_metadata"].(map[string]any)
	if !given {
		return response{}
	}
	custom := map[string]string{}
	if patch {
		maps.Copy(custom, e.custom)
	}
	for name, value := range raw {
		text, ok := value.(string)
		if value == nil && patch {
			delete(custom, name)
			continue
		}
		if problem := checkCustom(name, text); !ok || problem != "" {
			return refuse(http.StatusBadRequest, "1 error occurred:\n\t* custom_metadata validation failed: "+problem+"\n\n")
		}
		custom[name] = text
	}
	if len(custom) > maxCustomKeys {
		return refuse(http.StatusBadRequest, "custom_metadata validation failed: payload must contain at most 64 keys")
	}
	if e == nil {
		e = newEntry(s.cfg.Now())
		s.entries[key] = e
	}
	e.custom, e.updated = custom, s.cfg.Now()
	return response{}
}

func checkCustom(name, value string) string {
	switch {
	case name == "" || len(name) > maxCustomKey:
		return fmt.Sprintf("length of key %q is %d but must be 0 < len(key) <= %d", name, len(name), maxCustomKey)
	case value == "" || len(value) > maxCustomValue:
		return fmt.Sprintf("length of value for key %q is %d but must be 0 < len(value) <= %d", name, len(value), maxCustomValue)
	}
	return ""
}

func (s *Server) list(folder string) response {
	if folder = strings.TrimSuffix(folder, "/"); folder != "" {
		folder += "/"
	}
	seen := map[string]bool{}
	for key := range s.entries {
		rest, ok := strings.CutPrefix(key, folder)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if deeper {
			name += "/"
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return refuse(http.StatusNotFound)
	}
	return response{data: map[string]any{"keys": slices.Sorted(maps.Keys(seen))}}
}
