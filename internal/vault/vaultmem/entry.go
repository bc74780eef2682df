package vaultmem

import (
	"encoding/json"
	"strconv"
	"time"
)

// maxVersions is how many versions Vault keeps of a path by default.
const maxVersions = 10

// entry is one path: its versions and its metadata.
type entry struct {
	current, oldest  int
	versions         map[int]*revision
	custom           map[string]string
	created, updated time.Time
}

// revision is one version of a path.
type revision struct {
	data      map[string]any
	created   time.Time
	deletion  time.Time // zero: not deleted
	destroyed bool
}

func newEntry(now time.Time) *entry {
	return &entry{versions: map[int]*revision{}, created: now, updated: now}
}

// add makes the next version and drops the oldest beyond maxVersions.
func (e *entry) add(data map[string]any, now time.Time) *revision {
	if data == nil {
		data = map[string]any{}
	}
	e.current++
	v := &revision{data: data, created: now}
	e.versions[e.current] = v
	e.updated = now
	if last := e.current - maxVersions; last > 0 {
		for n := e.oldest; n <= last; n++ {
			delete(e.versions, n)
		}
		e.oldest = last + 1
	}
	return v
}

func (e *entry) delete(versions []int, now time.Time) {
	for _, n := range versions {
		if v := e.versions[n]; v != nil && !v.destroyed && v.deletion.IsZero() {
			v.deletion = now
		}
	}
}

func (e *entry) undelete(versions []int) {
	for _, n := range versions {
		if v := e.versions[n]; v != nil && !v.destroyed {
			v.deletion = time.Time{}
		}
	}
}

func (e *entry) destroy(versions []int) {
	for _, n := range versions {
		if v := e.versions[n]; v != nil {
			v.destroyed, v.data = true, nil
		}
	}
}

// customOrNil is the custom metadata as Vault shows it: null where there is
// none.
func (e *entry) customOrNil() any {
	if len(e.custom) == 0 {
		return nil
	}
	return e.custom
}

func (v *revision) describe() map[string]any {
	return map[string]any{
		"created_time": stamp(v.created), "deletion_time": stamp(v.deletion), "destroyed": v.destroyed,
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// integer reads a JSON number, or a text that is one, as Vault does.
func integer(v any) (int, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
