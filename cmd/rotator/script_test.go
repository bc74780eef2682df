package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this very test binary as `rotator`. The Postgres
// cluster of pgtest goes away with the process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rotator": main})
}

// TestScripts runs the command line as an operator does, each script in a
// world of its own: a database, the simulated Sinch over HTTP, and a real
// Vault.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		ContinueOnError:    true,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("testscript does not run under package testing")
			}
			env.Values[worldKey{}] = &world{t: tb, script: env}
			passOn(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "signal": signalTo, "ends": ends, // processes
			"world": theWorld, "project": addProject, "key": addKey, "remove": removeKey, "sinch": sinchIs,
			"fault": addFault, "hold": addHold, "arrived": arrived, "release": release,
			"lease": holdLease, "vault-role": vaultRole, "vault-write": vaultWrite,
			"oneline": oneLine, "stored": stored, "count": count, "snapshot": snapshot, "same": same,
			"json": jsonValue, "shape": shape, "logs-only": logsOnly, "leakless": leakless, "exact-bytes": exactBytes,
			"events": eachEvent, "cut": cut, "when": when, "disclosed": disclosed, "writefile": writeFile, "converges": converges,
		},
	})
}

// passOn hands on what finding Postgres' binaries needs, and nothing else of
// this process' environment.
func passOn(env *testscript.Env) {
	env.Setenv("TMP", env.Getenv("TMPDIR"))
	if dir, err := os.UserCacheDir(); err == nil {
		env.Setenv("XDG_CACHE_HOME", dir)
	}
	if bin, ok := os.LookupEnv("POSTGRES_BIN"); ok {
		env.Setenv("POSTGRES_BIN", bin)
	}
}

// crash is what no output may hold, whatever goes wrong.
var crash = regexp.MustCompile(`(?m)^(panic: |goroutine \d+ \[|fatal error: |WARNING: DATA RACE)`)

// exits runs rotator and checks its exit code:
//
//	exits 2 run-now -o json
//
// Every run is searched for stack traces and for every secret there is.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	err := ts.Exec("rotator", args[1:]...)
	if got := codeOf(ts, err); strconv.Itoa(got) != args[0] {
		ts.Fatalf("rotator %s: exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
	of(ts).inspect(ts, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}

func codeOf(ts *testscript.TestScript, err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	ts.Fatalf("running rotator: %v", err)
	return -1
}

// inspect fails the script if an output holds a stack trace or a secret.
func (w *world) inspect(ts *testscript.TestScript, outputs ...string) {
	for _, text := range outputs {
		if found := crash.FindString(text); found != "" {
			ts.Fatalf("the output holds a stack trace: %q", found)
		}
		if which := w.leaked(text); which != "" {
			ts.Fatalf("the output holds %s", which)
		}
	}
}
