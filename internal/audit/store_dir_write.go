package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Modes of what a DirStore makes, less what the process's umask takes away:
// checkpoints are no secrets.
const (
	documentMode = 0o644
	folderMode   = 0o755
)

// createIn writes a document's files: the note last, since with it the
// document is there. Two writers of the same document may mix the fields
// beside it, in which they agree if they agree about the note. Link is the
// directory's; not every file system has links.
func createIn(root *os.Root, link linker, name string, fields map[string]string) error {
	folder := path.Dir(name)
	if err := makeFolders(root, folder); err != nil {
		return err
	}
	if _, err := root.Lstat(name); err == nil {
		return ErrExists
	}
	for _, field := range besideNote {
		var err error
		if value, ok := fields[field]; ok {
			err = add(root, link, name+"."+field, value+"\n", true)
		} else {
			err = discard(root, name+"."+field)
		}
		if err != nil {
			return err
		}
	}
	if err := syncIn(root, folder); err != nil {
		return err
	}
	err := add(root, link, name, fields[noteField], false)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	return errors.Join(err, syncIn(root, folder))
}

// linker gives a file a second name, which must be free.
type linker func(from, to string) error

// add makes a file that has all of its content from its first moment on: it is
// written under another name, and then gets its own, which replaces nothing
// unless it may.
func add(root *os.Root, link linker, name, content string, replace bool) error {
	part := name + ".part-" + rand.Text()[:8]
	if err := fill(root, part, content); err != nil {
		return err
	}
	// Gone already where it was renamed. Where files can only be added it
	// stays, and is never listed.
	defer root.Remove(part) //nolint:errcheck // see above
	err := link(part, name)
	switch {
	case err == nil:
		return nil
	case replace:
		return root.Rename(part, name) //nolint:wrapcheck // wrapped by the caller
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return fill(root, name, content) // without links: a crash can leave half a file here
}

// fill makes a file, which must not be there, and brings it to the disk.
func fill(root *os.Root, name, content string) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, documentMode)
	if err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = root.Remove(name) // half a file; what failed is what matters
	}
	return err
}

// discard removes a field that an earlier attempt has left.
func discard(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what a crash has left: %w", err)
	}
	return nil
}

// makeFolders makes a folder and those above it, each kept by the one above.
func makeFolders(root *os.Root, folder string) error {
	parent := "."
	for name := range strings.SplitSeq(folder, "/") {
		if name == "." {
			return nil
		}
		child := path.Join(parent, name)
		err := root.Mkdir(child, folderMode)
		if err == nil {
			err = syncIn(root, parent)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		parent = child
	}
	return nil
}

// syncIn makes what is new in a folder outlive a crash of the machine.
func syncIn(root *os.Root, folder string) error {
	f, err := root.Open(folder)
	if err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return errors.Join(f.Sync(), f.Close())
}

// unended takes off the newline that write has put behind a field.
func unended(value string) string { return strings.TrimSuffix(value, "\n") }
