// Package image_test checks the container image's promises without a
// container engine: the binary is static, and in an empty root that holds
// exactly what the Dockerfile copies it runs as the Dockerfile's user, knows
// time zones and trusts the CA certificates.
package image_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

const (
	top      = "../.."
	caBundle = "/etc/ssl/certs/ca-certificates.crt"
)

// build makes the binary as the Dockerfile does.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-C", top, "build", "BIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "rotator")
}

// image is an unpacked root.
type image struct {
	stage
	root string
}

// unpack puts what the last stage copies into an empty root, with ca as the
// build stage's CA certificates.
func unpack(t *testing.T, s stage, binary string, ca []byte) image {
	t.Helper()
	img := image{s, t.TempDir()}
	if err := os.Chmod(img.root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.copies {
		to := filepath.Join(img.root, c.to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := img.place(c, to, binary, ca); err != nil {
			t.Fatalf("COPY %s %s: %v", c.from, c.to, err)
		}
	}
	return img
}

func (img image) place(c copied, to, binary string, ca []byte) error {
	switch c.from {
	case caBundle:
		return os.WriteFile(to, ca, 0o644)
	case "/src/bin/rotator":
		return os.Link(binary, to)
	case "/src/bin/state":
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		uid, gid, err := img.ids(c.owner)
		if err != nil || os.Getuid() != 0 { // in a user namespace our own id stands for the user
			return err
		}
		return os.Chown(to, uid, gid)
	}
	return fmt.Errorf("this test does not know where %s comes from", c.from)
}

// ids reads uid:gid.
func (image) ids(owner string) (uid, gid int, err error) {
	u, g, _ := strings.Cut(owner, ":")
	if uid, err = strconv.Atoi(u); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(g)
	return uid, gid, err
}

// run starts the entry point in the root, as the image's user, with the
// image's environment and env. It returns both outputs and the exit code.
func (img image) run(t *testing.T, env []string, args ...string) (output string, code int) {
	t.Helper()
	uid, gid, err := img.ids(img.user)
	if err != nil {
		t.Fatalf("USER %s is not numeric: %v", img.user, err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), img.entrypoint[0], append(img.entrypoint[1:], args...)...)
	cmd.Env, cmd.Dir = append(img.env[:len(img.env):len(img.env)], env...), img.workdir
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: img.root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if os.Getuid() != 0 { // only root may chroot, and in a user namespace everyone is
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.Credential.NoSetGroups = true
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("starting %q in the image: %v", img.entrypoint, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestImage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the binary")
	}
	s := readStage(t, top+"/Dockerfile")
	if s.base != "scratch" || len(s.entrypoint) == 0 || strings.HasPrefix(s.user, "0") || s.user == "" {
		t.Fatalf("the image is built on %q, runs %q as user %q", s.base, s.entrypoint, s.user)
	}
	binary := build(t)

	t.Run("static", func(t *testing.T) {
		t.Parallel()
		checkStatic(t, binary)
	})
	t.Run("starts", func(t *testing.T) {
		t.Parallel()
		if out, code := unpack(t, s, binary, nil).run(t, nil, "version"); code != 0 || !strings.Contains(out, "rotator") {
			t.Errorf("version ended with %d: %s", code, out)
		}
	})
	t.Run("time zones", func(t *testing.T) {
		t.Parallel()
		checkZones(t, unpack(t, s, binary, nil))
	})
	t.Run("certificates", func(t *testing.T) {
		t.Parallel()
		checkTrust(t, s, binary)
	})
	t.Run("state directory", func(t *testing.T) {
		t.Parallel()
		checkState(t, unpack(t, s, binary, nil))
	})
}

// checkStatic looks for what would need a dynamic linker.
func checkStatic(t *testing.T, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a %s segment, so it is not static", p.Type)
		}
	}
	if f.Section(".symtab") != nil {
		t.Error("the binary is not stripped")
	}
	const most = 30 << 20
	if info, err := os.Stat(binary); err != nil || info.Size() > most {
		t.Errorf("the binary has %d bytes, want at most %d (%v)", info.Size(), most, err)
	}
}

// checkZones runs a command that reads ROTATOR_TIMEZONE but cannot get
// further: a known zone must not be among its problems.
func checkZones(t *testing.T, img image) {
	t.Helper()
	for zone, known := range map[string]bool{"America/St_Johns": true, "Atlantis/Center": false} {
		out, code := img.run(t, []string{"ROTATOR_INCLUDE=*", "ROTATOR_TIMEZONE=" + zone}, "plan")
		if !strings.Contains(out, "DATABASE_URL") || code != 1 {
			t.Fatalf("plan without a database ended with %d, did it read its configuration?\n%s", code, out)
		}
		if strings.Contains(out, "ROTATOR_TIMEZONE") == known {
			t.Errorf("zone %s: %s", zone, out)
		}
	}
}

// checkTrust lets the image call a server over TLS, once with the server's CA
// among the image's certificates and once without. The server is Postgres as
// far as the handshake: it is what every command talks to first.
func checkTrust(t *testing.T, s stage, binary string) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, NextProtos: []string{"postgresql"}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // ends countTrust, which is all
	var trusted, refused atomic.Int32
	go countTrust(t.Context(), listener, &trusted, &refused)

	env := []string{fmt.Sprintf("DATABASE_URL=postgres://nobody@%s/none?sslmode=verify-full&sslnegotiation=direct&connect_timeout=5", listener.Addr())}
	out, _ := unpack(t, s, binary, nil).run(t, env, "migrate", "status")
	if trusted.Load() != 0 || refused.Load() == 0 {
		t.Errorf("a server that no CA vouches for was trusted %d times, refused %d times:\n%s", trusted.Load(), refused.Load(), out)
	}
	out, _ = unpack(t, s, binary, ca).run(t, env, "migrate", "status")
	if trusted.Load() == 0 {
		t.Errorf("the server was not trusted although its CA is in the image:\n%s", out)
	}
}

// countTrust counts the handshakes that clients finish and those they refuse.
func countTrust(ctx context.Context, listener net.Listener, trusted, refused *atomic.Int32) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if c, ok := conn.(*tls.Conn); ok && c.HandshakeContext(ctx) == nil {
			trusted.Add(1)
		} else {
			refused.Add(1)
		}
		_ = conn.Close()
	}
}

// checkState looks at the directory for spill files: it must belong to the
// image's user and nobody else.
func checkState(t *testing.T, img image) {
	t.Helper()
	info, err := os.Stat(filepath.Join(img.root, "var/lib/rotator"))
	if err != nil {
		t.Fatal(err)
	}
	uid, _, _ := img.ids(img.user)
	if os.Getuid() != 0 {
		uid = os.Getuid() // stands for the user in a user namespace
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != uid || info.Mode().Perm() != 0o700 {
		t.Errorf("it has mode %s and belongs to %d, want %d", info.Mode(), owner.Uid, uid)
	}
	if img.workdir != "/var/lib/rotator" {
		t.Errorf("the image works in %q", img.workdir)
	}
}
