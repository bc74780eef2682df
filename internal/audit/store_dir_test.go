package audit_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit"
	"rotator/internal/audit/audittest"
)

const somePath = "checkpoints/1/2026-11-22/0000000000000007"

func TestDirStore(t *testing.T) {
	t.Parallel()
	audittest.Store(t, func(t *testing.T) audit.Store { t.Helper(); return audit.DirStore(t.TempDir()) })
}

// TestDirStoreWithoutLinks writes where a file cannot get a second name.
func TestDirStoreWithoutLinks(t *testing.T) {
	t.Parallel()
	audittest.Store(t, func(t *testing.T) audit.Store {
		t.Helper()
		return audit.Linkless{DirStore: audit.DirStore(t.TempDir())}
	})
	dir, doc := t.TempDir(), audittest.Document(7)
	put(t, dir, somePath+".frontier", "half")
	if err := (audit.Linkless{DirStore: audit.DirStore(dir)}).Create(t.Context(), somePath, doc); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.DirStore(dir).Read(t.Context(), somePath, 0); err != nil || !maps.Equal(got, doc) || len(kept(t, dir)) != 3 {
		t.Errorf("read %v (%v), files %v", got, err, kept(t, dir))
	}
}

// TestShelf holds the tests' own store to the contract, too; it knows no
// contexts.
func TestShelf(t *testing.T) {
	t.Parallel()
	audittest.Store(t, func(*testing.T) audit.Store { return patient{newShelf()} })
}

// TestDirStoreFiles checks what other tools find.
func TestDirStoreFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	doc := audittest.Document(7)
	mustCreate(t, dir, doc)
	want := map[string]string{
		somePath: doc["note"], somePath + ".frontier": doc["frontier"] + "\n", somePath + ".anchored_at": doc["anchored_at"] + "\n",
	}
	if diff := cmp.Diff(want, kept(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, mode := range map[string]os.FileMode{somePath: 0o644, somePath + ".frontier": 0o644, "checkpoints/1": 0o755 | os.ModeDir} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode(), err, mode)
		}
	}
}

// TestDirStoreAuditorsCopy reads a directory to which only notes were copied,
// with the litter that directories get.
func TestDirStoreAuditorsCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		somePath: "a note\n", "checkpoints/1/2026-11-22/.DS_Store": "x", "checkpoints/1/2026-11-22/notes.txt": "x",
		"checkpoints/1/2026-11-22/0000000000000009.frontier": "of nothing", ".snapshot/a": "x", "README.md": "x",
	} {
		put(t, dir, name, text)
	}
	store := audit.DirStore(dir)
	got, err := store.Read(t.Context(), somePath, 0)
	if want := map[string]string{"note": "a note\n"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("read %v (%v), want %v", got, err, want)
	}
	for folder, want := range map[string][]string{"checkpoints/1/2026-11-22": {"0000000000000007"}, "": {"checkpoints"}} {
		if names, err := store.List(t.Context(), folder); err != nil || !cmp.Equal(names, want) {
			t.Errorf("names below %q: %v (%v), want %v", folder, names, err, want)
		}
	}
}

// TestDirStoreCrash leaves what a crash can leave, and creates the document
// again.
func TestDirStoreCrash(t *testing.T) {
	t.Parallel()
	doc := audittest.Document(7)
	for name, left := range map[string]map[string]string{
		"a field":            {somePath + ".frontier": doc["frontier"] + "\n"},
		"half a field":       {somePath + ".frontier": "00"},
		"another's fields":   {somePath + ".frontier": "other\n", somePath + ".anchored_at": "2001-01-01T00:00:00Z\n"},
		"half a note, apart": {somePath + ".part-AAAABBBB": "rotator-au", somePath + ".frontier.part-AAAABBBB": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range left {
				put(t, dir, file, text)
			}
			store := audit.DirStore(dir)
			if _, err := store.Read(t.Context(), somePath, 0); !errors.Is(err, audit.ErrAbsent) {
				t.Errorf("reading what is not there yet: %v, want ErrAbsent", err)
			}
			if names, err := store.List(t.Context(), "checkpoints/1/2026-11-22"); err != nil || len(names) > 0 {
				t.Errorf("names: %v (%v), want none", names, err)
			}
			mustCreate(t, dir, doc)
			if got, err := store.Read(t.Context(), somePath, 0); err != nil || !maps.Equal(got, doc) {
				t.Errorf("read %v (%v), want %v", got, err, doc)
			}
		})
	}
	t.Run("fields of which the next has none", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		put(t, dir, somePath+".frontier", "other\n")
		mustCreate(t, dir, map[string]string{"note": "alone\n"})
		if got, err := audit.DirStore(dir).Read(t.Context(), somePath, 0); err != nil || len(got) != 1 {
			t.Errorf("read %v (%v), want the note alone", got, err)
		}
	})
}

// TestDirStoreHostileNames checks that no path leaves the directory, and that
// none can be taken for another's field.
func TestDirStoreHostileNames(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	dir := filepath.Join(outside, "inside")
	put(t, dir, somePath, "a note\n")
	put(t, outside, "secret", "outside")
	for _, name := range []string{
		"../secret", "..", "checkpoints/../../secret", "/etc/passwd", "checkpoints//1", "checkpoints/", "./checkpoints", ".",
		somePath + ".frontier", "a\x00b", "a\\..\\b", "a b", "ä", strings.Repeat("a", 101),
	} {
		store := audit.DirStore(dir)
		if err := store.Create(t.Context(), name, audittest.Document(1)); err == nil || errors.Is(err, audit.ErrExists) {
			t.Errorf("creating %q: %v", name, err)
		}
		if fields, err := store.Read(t.Context(), name, 0); err == nil || errors.Is(err, audit.ErrAbsent) {
			t.Errorf("reading %q: %v, %v", name, fields, err)
		}
		if names, err := store.List(t.Context(), name); err == nil {
			t.Errorf("listing %q: %v", name, names)
		}
	}
	want := map[string]string{"inside/" + somePath: "a note\n", "secret": "outside"}
	if diff := cmp.Diff(want, kept(t, outside)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestDirStoreKeepsNotes checks that what is no note's field is refused: a
// private key must not get there by mistake.
func TestDirStoreKeepsNotes(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string]map[string]string{
		"a private key":            {"private_key": "PRIVATE+KEY+x"},
		"a private key and a note": {"note": "n", "private_key": "PRIVATE+KEY+x"},
		"no note":                  {"frontier": "AAAA"},
		"an empty note":            {"note": ""},
		"a hostile field":          {"note": "n", "../x": "y"},
	} {
		dir := t.TempDir()
		if err := audit.DirStore(dir).Create(t.Context(), "signing-key", fields); err == nil || errors.Is(err, audit.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
		if left := kept(t, dir); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestDirStoreSymlinks follows links that stay inside, and no others.
func TestDirStoreSymlinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	put(t, outside, "elsewhere/0000000000000007", "outside\n")
	dir := filepath.Join(outside, "inside")
	put(t, dir, "real/2026-11-22/0000000000000007", "a note\n")
	put(t, dir, "real/2026-11-22/0000000000000008", "another\n")
	day := filepath.Join(dir, "real/2026-11-22")
	for link, to := range map[string]string{
		filepath.Join(dir, "checkpoints"):        "real",
		filepath.Join(dir, "absolute"):           filepath.Join(outside, "elsewhere"),
		filepath.Join(dir, "relative"):           "../elsewhere",
		filepath.Join(day, "0000000000000009"):   "../../../elsewhere/0000000000000007",
		filepath.Join(day, "0000000000000010"):   "nowhere",
		filepath.Join(outside, "other-name"):     "inside",
		filepath.Join(outside, "missing-target"): "gone",
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	store := audit.DirStore(filepath.Join(outside, "other-name"))
	if got, err := store.Read(t.Context(), "checkpoints/2026-11-22/0000000000000007", 0); err != nil || got["note"] != "a note\n" {
		t.Errorf("reading through a link inside: %v (%v)", got, err)
	}
	for _, path := range []string{"absolute/0000000000000007", "relative/0000000000000007", "checkpoints/2026-11-22/0000000000000009"} {
		if got, err := store.Read(t.Context(), path, 0); err == nil || errors.Is(err, audit.ErrAbsent) {
			t.Errorf("reading %s, which leads outside: %v (%v)", path, got, err)
		}
		if err := store.Create(t.Context(), path+"1", audittest.Document(1)); err == nil && !strings.HasPrefix(path, "checkpoints") {
			t.Errorf("creating below %s, which leads outside", path)
		}
	}
	if err := store.Create(t.Context(), "checkpoints/2026-11-22/0000000000000010", audittest.Document(1)); !errors.Is(err, audit.ErrExists) {
		t.Errorf("creating where a dead link is: %v, want ErrExists", err)
	}
	if left := kept(t, filepath.Join(outside, "elsewhere")); len(left) != 1 {
		t.Errorf("outside are now %v", left)
	}
}

// TestDirStoreStrangeFiles must neither hang nor take them for documents.
func TestDirStoreStrangeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, somePath, "a note\n")
	day := filepath.Join(dir, "checkpoints/1/2026-11-22")
	if err := syscall.Mkfifo(filepath.Join(day, "0000000000000008"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(day, "0000000000000007.frontier"), 0o644); err != nil {
		t.Fatal(err)
	}
	store := audit.DirStore(dir)
	for _, path := range []string{"checkpoints/1/2026-11-22/0000000000000008", somePath, "checkpoints/1", somePath + "/0000000000000001"} {
		if got, err := store.Read(t.Context(), path, 0); err == nil || errors.Is(err, audit.ErrAbsent) {
			t.Errorf("reading %s: %v (%v)", path, got, err)
		}
	}
	put(t, dir, "keys/0a1b2c3d", strings.Repeat("x", 3<<20))
	if got, err := store.Read(t.Context(), "keys/0a1b2c3d", 0); err != nil || len(got["note"]) > 1<<20+1 {
		t.Errorf("read %d bytes of a file of 3 MiB (%v)", len(got["note"]), err)
	}
}

// TestDirStoreMissing tells a mount that is not there from an empty store.
func TestDirStoreMissing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not-mounted")
	store := audit.DirStore(dir)
	_, readErr := store.Read(t.Context(), somePath, 0)
	_, listErr := store.List(t.Context(), "checkpoints")
	createErr := store.Create(t.Context(), somePath, audittest.Document(7))
	for what, err := range map[string]error{"reading": readErr, "listing": listErr, "creating": createErr} {
		if err == nil || errors.Is(err, audit.ErrAbsent) || !strings.Contains(err.Error(), "mount it") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}
