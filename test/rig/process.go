package rig

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a rotator at work.
type Process struct {
	Out, Err Buffer
	Ended    chan struct{} // closed at its end

	w   *World
	cmd *exec.Cmd
}

// Buffer is a bytes.Buffer that may be read while it is written.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p) //nolint:wrapcheck // it cannot fail
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Start runs rotator in the background.
func (w *World) Start(args ...string) *Process {
	w.T.Helper()
	program := w.Program
	if program == "" {
		program = Program(w.T)
	}
	p := &Process{w: w, cmd: exec.Command(program, args...), Ended: make(chan struct{})} //nolint:gosec // ours
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = w.Env, &p.Out, &p.Err
	if err := p.cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.Ended })
	go func() {
		defer close(p.Ended)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	return p
}

// Run runs rotator to its end, with the exit code that is wanted.
func (w *World) Run(want int, args ...string) *Process {
	w.T.Helper()
	p := w.Start(args...)
	p.Exits(want)
	return p
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait waits for the end and returns the exit code, -1 after a signal.
func (p *Process) Wait() int {
	p.w.T.Helper()
	select {
	case <-p.Ended:
	case <-time.After(Limit):
		_ = p.cmd.Process.Kill()
		<-p.Ended
		p.w.T.Fatalf("rotator %v did not end; log:\n%s", p.cmd.Args[1:], p.Log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Exits waits for the end with one of the exit codes that are wanted.
func (p *Process) Exits(want ...int) {
	p.w.T.Helper()
	if got := p.Wait(); !slices.Contains(want, got) {
		p.w.T.Fatalf("rotator %v: exit code %d, want %v\n%s", p.cmd.Args[1:], got, want, p.Log())
	}
}

// Await waits for a held request.
func (p *Process) Await(arrived <-chan struct{}) {
	p.w.T.Helper()
	select {
	case <-arrived:
	case <-p.Ended:
		p.w.T.Fatalf("the run ended before the request to be held: exit code %d\n%s", p.Wait(), p.Log())
	case <-time.After(Limit):
		p.w.T.Fatalf("the request to be held did not come; log:\n%s", p.Log())
	}
}

// Log is what the process has written.
func (p *Process) Log() string { return p.Out.String() + p.Err.String() }

// Says fails the test unless the process has written the text.
func (p *Process) Says(text string) {
	p.w.T.Helper()
	if !strings.Contains(p.Log(), text) {
		p.w.T.Errorf("rotator %v does not say %q:\n%s", p.cmd.Args[1:], text, p.Log())
	}
}

// Signal sends a signal to a process that must be there.
func (p *Process) Signal(sig syscall.Signal) {
	p.w.T.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.w.T.Fatalf("sending %s: %v; log:\n%s", sig, err, p.Log())
	}
}

// TrySignal sends a signal. It reports false if the process had ended.
func (p *Process) TrySignal(sig syscall.Signal) bool {
	return p.cmd.Process.Signal(sig) == nil
}

// TryKill kills the process for good. It reports false if that had ended by
// itself.
func (p *Process) TryKill() bool {
	p.w.T.Helper()
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.Ended
	if p.cmd.ProcessState.Exited() {
		return false
	}
	p.w.killed = true
	return true
}

// Kill kills a process that must be there.
func (p *Process) Kill() {
	p.w.T.Helper()
	if !p.TryKill() {
		p.w.T.Fatalf("rotator %v had ended by itself; log:\n%s", p.cmd.Args[1:], p.Log())
	}
}

// maxRuns is how many runs after a kill or an outage may be needed.
const maxRuns = 2

// Converge runs rotator until it says that everything is as it should be, and
// returns how many runs that took.
func (w *World) Converge(args ...string) int {
	w.T.Helper()
	for n := 1; ; n++ {
		p := w.Start(append([]string{"run-now"}, args...)...)
		code := p.Wait()
		if code == 0 {
			return n
		}
		if n == maxRuns {
			w.T.Fatalf("exit code %d of run %d, which should have converged\n%s", code, n, p.Log())
		}
	}
}
