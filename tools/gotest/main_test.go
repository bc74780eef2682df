package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reportOn writes a module with one test file, runs go test in it and returns
// what is reported.
func reportOn(t *testing.T, body string) (output string, good bool) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example\n\ngo 1.26\n",
		"x_test.go": "package example\n\nimport \"testing\"\n\n" + body,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
	cmd.Dir = dir
	events, _ := cmd.Output() // a failing test fails the command
	var out bytes.Buffer
	r := report{out: &out, lines: map[test][]string{}}
	if err := r.read(bytes.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	good = r.finish()
	return out.String(), good
}

func TestReport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		good bool
		want []string // in the output
		not  string   // not in it
	}{
		"quiet about what passes": {
			`func TestA(t *testing.T) { t.Log("chatter") }`, true,
			[]string{"ok  \texample\t", "tests passed: 1", "tests skipped: none"},
			"chatter",
		},
		"a skipped test fails": {
			"func TestA(*testing.T) {}\nfunc TestB(t *testing.T) { t.Run(`c`, func(t *testing.T) { t.Skip(`no server`) }) }", false,
			[]string{"tests skipped: 1, and none may be", "example TestB/c: ", "no server"},
			"none\n",
		},
		"a failed test is shown": {
			`func TestA(t *testing.T) { t.Error("seven is not eight") }
func TestB(*testing.T) {}`, false,
			[]string{"--- FAIL: TestA", "seven is not eight", "FAIL\texample"},
			"",
		},
		"a race is shown wherever it is reported": {
			`func TestA(*testing.T) { print("WARNING: DATA RACE\n  at the till\n") }`, true,
			[]string{"at the till"},
			"",
		},
		"a crash is shown": {
			`func TestA(*testing.T) { go panic("boom"); select {} }`, false,
			[]string{"panic: boom", "FAIL\texample"},
			"",
		},
		"what does not compile is shown": {
			`func TestA(*testing.T) { undefinedThing() }`, false,
			[]string{"undefined: undefinedThing", "[build failed]"},
			"",
		},
		"nothing ran": {`var _ testing.T`, false, []string{"tests passed: 0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, good := reportOn(t, test.body)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
			if test.not != "" && strings.Contains(out, test.not) {
				t.Errorf("the output has %q:\n%s", test.not, out)
			}
			if good != test.good {
				t.Errorf("good is %t, want %t:\n%s", good, test.good, out)
			}
		})
	}
}
