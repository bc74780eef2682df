package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The contract of JSON output (DESIGN.md section 4), written down a second
// time: a field that is renamed, dropped or of another type breaks scripts.
var (
	counterFields = map[string]string{
		"projects": "count", "keys": "count", "rotated": "count", "retired": "count", "orphans_deleted": "count",
		"skipped": "count", "failed": "count", "refused": "count", "started_at": "time", "finished_at": "time",
	}
	actionFields = map[string]string{
		"project_id": "text", "credential": "string", "rotation_id": "rotation?", "old_key_id": "text?",
		"new_key_id": "text?", "vault_path": "text?", "error": "text?",
	}
	policyFields = map[string]string{
		"max_age_seconds": "count", "overlap_seconds": "count", "margin_seconds": "count", "source": "source",
	}
	shapes = map[string]map[string]string{
		"report": with(counterFields, "run_id", "uuid", "trigger", "manual|compromised|schedule", "results", "[result]"),
		"result": with(actionFields, "action", "rotated|retired|orphan_deleted|skipped|failed|refused"),
		"plan":   with(counterFields, "run_id", "null", "trigger", "manual|compromised|schedule", "actions", "[step]", "warnings", "[text]", "policies", "[in-force]", "estimated_seconds", "count"),
		"step":   with(actionFields, "action", "rotate|retire|delete_orphan|skip|refuse", "reason", "text", "due_at", "time?", "deadline", "time?"),
		"key": {
			"project_id": "text", "project_name": "string", "credential": "string", "key_id": "text", "display_name": "string",
			"state":      "current|adopted|superseded|held|orphan|unknown|unmanaged",
			"created_at": "time", "age_seconds": "count", "due_at": "time?", "deadline": "time?", "retire_at": "time?",
			"vault_path": "text?", "policy": "policy",
		},
		"policy":   policyFields,
		"in-force": with(policyFields, "project_id", "text"),
		"source":   {"max_age": "text", "overlap": "text", "margin": "text", "exclude": "text?"},
	}
	patterns = map[string]*regexp.Regexp{
		"uuid":     regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
		"rotation": regexp.MustCompile(`^[0-9a-z]{13}$`),
		"text":     regexp.MustCompile(`.`),
		"string":   regexp.MustCompile(``),
	}
)

func with(fields map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(fields)
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

// shape checks that stdout is one JSON value of this shape, with exactly its
// fields: shape report | plan | [key].
func shape(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("stdout is not one line of JSON")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(text), &v))
	if wrong := misfit(v, args[0]); wrong != "" {
		ts.Fatalf("stdout is not of the shape %s: %s", args[0], wrong)
	}
}

// misfit says where a value is not of its kind; empty where it is. A kind is a
// name of shapes or patterns, `[kind]`, `kind?` (or null), `a|b` (one of these
// words), `count`, `time` or `null`.
func misfit(v any, kind string) string {
	if base, ok := strings.CutSuffix(kind, "?"); ok {
		if v == nil {
			return ""
		}
		kind = base
	}
	switch v := v.(type) {
	case nil:
		if kind == "null" {
			return ""
		}
	case []any:
		return misfitList(v, kind)
	case map[string]any:
		return misfitObject(v, kind)
	case float64:
		if kind == "count" && v >= 0 && v == math.Trunc(v) {
			return ""
		}
	case string:
		if fits(v, kind) {
			return ""
		}
	}
	return fmt.Sprintf("%v is no %s", v, kind)
}

func misfitList(list []any, kind string) string {
	if !strings.HasPrefix(kind, "[") {
		return "a list is no " + kind
	}
	for i, v := range list {
		if wrong := misfit(v, strings.Trim(kind, "[]")); wrong != "" {
			return fmt.Sprintf("[%d]: %s", i, wrong)
		}
	}
	return ""
}

func misfitObject(object map[string]any, kind string) string {
	fields, ok := shapes[kind]
	if !ok {
		return "an object is no " + kind
	}
	if got, want := slices.Sorted(maps.Keys(object)), slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		return fmt.Sprintf("fields are %v, want %v", got, want)
	}
	for name, v := range object {
		if wrong := misfit(v, fields[name]); wrong != "" {
			return name + ": " + wrong
		}
	}
	return ""
}

func fits(text, kind string) bool {
	if p, ok := patterns[kind]; ok {
		return p.MatchString(text)
	}
	if kind == "time" {
		_, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && strings.HasSuffix(text, "Z")
	}
	return strings.Contains(kind, "|") && slices.Contains(strings.Split(kind, "|"), text)
}
