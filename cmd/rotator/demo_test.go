package main

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// demoRig is a place of the demo's own: what it leaves behind is seen there.
type demoRig struct {
	binary, tmp string
}

// newDemoRig makes a folder that everybody may use, with this program in it.
func newDemoRig(t *testing.T) demoRig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Postgres; left out by -short")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rig := demoRig{binary: filepath.Join(dir, "rotator"), tmp: filepath.Join(dir, "tmp")}
	if err := os.Mkdir(rig.tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(rig.tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "/proc/self/exe", rig.binary)
	return rig
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDemo runs the whole story, as ourselves and, where we are root, as
// somebody without rights: it ends well and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	t.Run("ourselves", func(t *testing.T) {
		t.Parallel()
		newDemoRig(t).tell(t, nil)
	})
	if os.Geteuid() != 0 {
		return // we are the unprivileged user already
	}
	t.Run("unprivileged", func(t *testing.T) {
		t.Parallel()
		newDemoRig(t).tell(t, somebody(t))
	})
}

// somebody is a user without rights.
func somebody(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// command is the demo, ready to be run.
func (r demoRig) command(t *testing.T, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), r.binary, "demo")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "POSTGRES_BIN=" + os.Getenv("POSTGRES_BIN"),
		"HOME=" + r.tmp, "XDG_CACHE_HOME=" + r.cache(attr), "TMPDIR=" + r.tmp,
	}
	cmd.Dir, cmd.SysProcAttr = r.tmp, attr
	return cmd
}

// tell runs the demo and looks at what it said and what it left.
func (r demoRig) tell(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := r.command(t, attr)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("rotator demo: %v\n%s%s", err, out.String(), errs.String())
	}
	verdict := regexp.MustCompile(`Consumers made [1-9]\d* calls with their keys, 0 of them failed; they changed over to [1-9]\d* new keys\.\n  Keys over the age limit now: 0\.`)
	if !verdict.MatchString(out.String()) {
		t.Errorf("the verdict is missing:\n%s", out.String())
	}
	for _, want := range []string{"$ rotator migrate up --owner-role ", "rights: GRANT ", "$ rotator plan\n", "$ rotator run-now\n", "$ rotator keys\n", "$ rotator audit list "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story lacks %q", want)
		}
	}
	if errs.Len() > 0 {
		t.Errorf("stderr: %s", errs.String())
	}
	if strings.Contains(out.String(), "\x1b") || crash.MatchString(out.String()) {
		t.Error("stdout, which is no terminal, holds colours or a stack trace")
	}
	r.leftNothing(t)
}

// TestDemoStopped ends the demo in the middle of its story: it still cleans up.
func TestDemoStopped(t *testing.T) {
	t.Parallel()
	rig := newDemoRig(t)
	cmd := rig.command(t, nil)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "$ rotator run-now") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	rig.leftNothing(t)
}

// cache is where Postgres may have been downloaded to before: ours, or for
// somebody else one of their own.
func (r demoRig) cache(attr *syscall.SysProcAttr) string {
	if dir, err := os.UserCacheDir(); err == nil && attr == nil {
		return dir
	}
	return filepath.Join(r.tmp, ".cache")
}

// leftNothing looks for files, folders and processes. A cache that did not
// exist before may stay.
func (r demoRig) leftNothing(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(r.tmp, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".cache" {
			return fs.SkipDir
		}
		if path != r.tmp {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, _ := os.ReadFile(path) // a process that has just ended is none that was left
		if bytes.Contains(line, []byte(r.tmp)) || bytes.Contains(line, []byte(r.binary)) {
			t.Errorf("still running: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}
