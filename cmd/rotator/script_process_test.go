package main

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// processLimit is how long a script waits for anything before it gives up.
const processLimit = 30 * time.Second

// process is a rotator in the background.
type process struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
	ended    chan error
	signaled time.Time
}

// start runs rotator in the background: start NAME ARGS...
func start(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	p := &process{cmd: exec.CommandContext(w.t.Context(), "rotator", args[1:]...), ended: make(chan error, 1)} // #nosec G204 -- ourselves
	p.cmd.Env = w.environment(ts)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	ts.Check(p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	if w.processes == nil {
		w.processes = map[string]*process{}
	}
	w.processes[args[0]] = p
}

// environment is the script's, as changed by it so far.
func (w *world) environment(ts *testscript.TestScript) []string {
	var env []string
	seen := map[string]bool{}
	for _, pair := range append(w.script.Vars, exported...) {
		name, _, _ := strings.Cut(pair, "=")
		if value := ts.Getenv(name); value != "" && !seen[name] {
			env, seen[name] = append(env, name+"="+value), true
		}
	}
	return env
}

// exported are variables that a script may set after its start.
var exported = func() []string {
	var names []string
	for _, row := range configTable() {
		names = append(names, row.Name)
	}
	return names
}()

// signalTo sends SIGTERM: signal NAME. A second one comes a little later: the
// kernel would make one of two that are sent at once.
func signalTo(ts *testscript.TestScript, _ bool, args []string) {
	p := of(ts).processes[args[0]]
	if !p.signaled.IsZero() {
		time.Sleep(300 * time.Millisecond)
	}
	p.signaled = time.Now()
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
}

// ends waits for a process and checks its exit code, and how long after the
// last signal it ended: ends NAME CODE [MIN MAX]. Its output can be looked at
// afterwards: it is in NAME.out and NAME.err.
func ends(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	p := w.processes[args[0]]
	select {
	case err := <-p.ended:
		ts.Logf("[%s stdout]\n%s[%s stderr]\n%s", args[0], p.out.String(), args[0], p.err.String())
		if got := codeOf(ts, err); strconv.Itoa(got) != args[1] {
			ts.Fatalf("%s: exit code %d, want %s", args[0], got, args[1])
		}
	case <-time.After(processLimit):
		_ = p.cmd.Process.Kill()
		ts.Logf("%s: %v", args[0], <-p.ended)
		ts.Fatalf("%s did not end; stderr:\n%s", args[0], p.err.String())
	}
	w.inspect(ts, p.out.String(), p.err.String())
	if len(args) < 4 {
		return
	}
	least, err := time.ParseDuration(args[2])
	ts.Check(err)
	most, err := time.ParseDuration(args[3])
	ts.Check(err)
	if took := time.Since(p.signaled); took < least || took > most {
		ts.Fatalf("%s ended %s after the signal, want between %s and %s", args[0], took, least, most)
	}
}
