package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const examplePath = "../../config.example.env"

var update = flag.Bool("update", false, "write config.example.env")

// example writes every variable with what it means and its default: what has
// one is commented out, what must be set is not.
func example() string {
	var b strings.Builder
	b.WriteString("# Every variable of rotator with its default. Copy what you change and pass the\n" +
		"# copy with --env-file. Each also works as NAME_FILE, a file that holds the value.\n")
	section := ""
	for _, row := range configTable() {
		if row.Section != section {
			section = row.Section
			fmt.Fprintf(&b, "\n# --- %s ---\n", section)
		}
		hash, value, note := "#", row.Default, ""
		switch {
		case row.Default == "required":
			hash, value, note = "", "", " (required)"
		case row.Shown:
			value, note = "", " (default: "+row.Default+")"
		}
		fmt.Fprintf(&b, "\n# %s%s\n%s%s=%s\n", row.Description, note, hash, row.Name, value)
	}
	return b.String()
}

// TestExampleHasEveryVariable compares both ways: nothing is missing, nothing
// is left over. `go test ./cmd/rotator -run Example -update` writes the file.
func TestExampleHasEveryVariable(t *testing.T) {
	t.Parallel()
	if *update {
		write(t, examplePath, example())
	}
	got, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), string(got)); diff != "" {
		t.Error("config.example.env (-want +got):\n" + diff)
	}
}

// TestExampleLoads uncomments every line of the example: what people copy
// must be accepted as it stands.
func TestExampleLoads(t *testing.T) {
	t.Parallel()
	var lines []string
	for line := range strings.Lines(example()) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "#"), "="); ok && isName(name) {
			line = strings.TrimPrefix(line, "#")
		}
		lines = append(lines, line)
	}
	env, err := parseEnvFile("example", strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(env) != len(configTable()) {
		t.Errorf("the example sets %d variables of %d", len(env), len(configTable()))
	}
	for name, value := range minimal() {
		env[name] = value
	}
	if got, want := mustLoad(t, needAll, env).sha256(), mustLoad(t, needAll, minimal()).sha256(); got != want {
		t.Error("the example's defaults are not the defaults")
	}
}
