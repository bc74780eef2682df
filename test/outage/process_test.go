package outage_test

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a rotator at work.
type process struct {
	w        *world
	cmd      *exec.Cmd
	out, err buffer
	ended    chan struct{}
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs rotator in the background.
func (w *world) start(args ...string) *process {
	w.t.Helper()
	p := &process{w: w, cmd: exec.Command(program(w.t), args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = w.env, &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	return p
}

// run runs rotator to its end, with the exit code that is wanted.
func (w *world) run(want int, args ...string) *process {
	w.t.Helper()
	p := w.start(args...)
	p.exits(want)
	return p
}

// wait waits for the end and returns the exit code.
func (p *process) wait() int {
	p.w.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.w.t.Fatalf("rotator %v did not end; log:\n%s", p.cmd.Args[1:], p.log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// exits waits for the end with one of the exit codes that are wanted.
func (p *process) exits(want ...int) {
	p.w.t.Helper()
	got := p.wait()
	for _, code := range want {
		if got == code {
			return
		}
	}
	p.w.t.Fatalf("rotator %v: exit code %d, want %v\n%s", p.cmd.Args[1:], got, want, p.log())
}

// log is what the process has written.
func (p *process) log() string { return p.out.String() + p.err.String() }

func (p *process) signal(sig syscall.Signal) {
	p.w.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.w.t.Fatal(err)
	}
}

// kill kills the process for good.
func (p *process) kill() {
	p.w.t.Helper()
	p.w.killed = true
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// maxRuns is how many runs after an outage may be needed.
const maxRuns = 2

// converge runs rotator until it says that everything is as it should be, and
// checks that it is: each project has as many keys as wanted.
func (w *world) converge(want map[string]int) {
	w.t.Helper()
	w.outlast()
	for n := 1; ; n++ {
		p := w.start("run-now")
		code := p.wait()
		if code == 0 {
			break
		}
		if n == maxRuns {
			w.t.Fatalf("exit code %d of run %d after the outage\n%s", code, n, p.log())
		}
	}
	w.check(want)
}

// says fails the test unless the process has written the text.
func (p *process) says(text string) {
	p.w.t.Helper()
	if !strings.Contains(p.log(), text) {
		p.w.t.Errorf("rotator %v does not say %q:\n%s", p.cmd.Args[1:], text, p.log())
	}
}
