package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	readmePath  = "../../README.md"
	readmeBegin = "<!-- config:begin -->\n"
	readmeEnd   = "<!-- config:end -->"
)

// markup keeps text from being read as Markdown.
var markup = strings.NewReplacer("<", `\<`, "*", `\*`, "|", `\|`, "$", `\$`)

// readmeTable is the configuration as README shows it, between the markers.
func readmeTable() string {
	var b strings.Builder
	section := ""
	for _, row := range configTable() {
		if row.Section != section {
			section = row.Section
			fmt.Fprintf(&b, "\n**%s**\n\n| variable | default | |\n|---|---|---|\n", section)
		}
		value := markup.Replace(row.Default)
		if row.Default != "" && row.Default != "required" && !row.Shown {
			value = "`" + row.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row.Name, value, markup.Replace(row.Description))
	}
	return b.String() + "\n"
}

// TestReadmeTable compares README's table of variables with the program's.
// `go test ./cmd/rotator -run TestReadmeTable -update` writes it.
func TestReadmeTable(t *testing.T) {
	t.Parallel()
	const advice = "; `go test ./cmd/rotator -run TestReadmeTable -update` writes it"
	b, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(b), readmeBegin)
	got, after, closed := strings.Cut(rest, readmeEnd)
	if !found || !closed {
		t.Fatalf("README.md lacks a pair of markers, %s and %s, for the table of variables", strings.TrimSpace(readmeBegin), readmeEnd)
	}
	if *update {
		write(t, readmePath, before+readmeBegin+readmeTable()+readmeEnd+after)
		return
	}
	if diff := cmp.Diff(readmeTable(), got); diff != "" {
		t.Error("README.md's table of variables (-want +got)" + advice + ":\n" + diff)
	}
}
