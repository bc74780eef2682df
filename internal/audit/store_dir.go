package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// DirStore is a Store in a directory, which must exist: a mount that is
// missing is an error, not an empty store.
//
// A document is a file that holds its field note, verbatim, so that other
// tools read it. The fields beside it (frontier, anchored_at) are files of the
// same name with the field's name behind a dot, each ended by a newline. A
// copy without those works: what they say is then not known. Nothing else can
// be kept, a private key least of all.
//
// Nothing outside of the directory is reached, by no path and by no symbolic
// link. Documents have one version. It is safe for concurrent use, by other
// processes too.
type DirStore string

// errPath is a path or a field that a DirStore does not take.
var errPath = errors.New("not a document's path and fields")

// component is what paths are made of. What holds a dot is no document: it is
// a field, what a crash has left, or a stranger's.
var component = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// besideNote are the fields that stand in files of their own.
var besideNote = []string{frontierField, timeField}

// Create writes the document. It is there once its note is, which happens at
// once and last: what a crash leaves before is not seen, and written anew.
func (d DirStore) Create(ctx context.Context, name string, fields map[string]string) error {
	root, err := d.open(ctx, name)
	if err != nil {
		return fmt.Errorf("creating document: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was opened for looking up names
	for field := range fields {
		if field != noteField && !slices.Contains(besideNote, field) {
			return fmt.Errorf("creating %s: %w: a directory keeps no field %q", name, errPath, field)
		}
	}
	if fields[noteField] == "" {
		return fmt.Errorf("creating %s: %w: it needs a note", name, errPath)
	}
	if err := createIn(root, root.Link, name, fields); err != nil {
		return fmt.Errorf("creating %s in %s: %w", name, d, err)
	}
	return nil
}

// Read returns the document.
func (d DirStore) Read(ctx context.Context, name string, version int) (map[string]string, error) {
	root, err := d.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading document: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing was written
	note, err := readFile(root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && version != 0 && version != 1:
		return nil, fmt.Errorf("reading %s in %s: %w", name, d, ErrAbsent)
	case err != nil:
		return nil, fmt.Errorf("reading %s in %s: %w", name, d, err)
	}
	fields := map[string]string{noteField: note}
	for _, field := range besideNote {
		value, err := readFile(root, name+"."+field)
		switch {
		case err == nil:
			fields[field] = unended(value)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("reading %s.%s in %s: %w", name, field, d, err)
		}
	}
	return fields, nil
}

// List returns the names of documents and folders; "" is the directory itself.
func (d DirStore) List(ctx context.Context, folder string) ([]string, error) {
	root, err := d.open(ctx, cmp.Or(folder, checkpointFolder))
	if err != nil {
		return nil, fmt.Errorf("listing documents: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing was written
	entries, err := fs.ReadDir(root.FS(), cmp.Or(folder, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s in %s: %w", folder, d, err)
	}
	var names []string
	for _, e := range entries { // sorted by name
		if component.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// open opens the directory, for a path that can be a document's or a folder's.
func (d DirStore) open(ctx context.Context, name string) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(name, "/") {
		if !component.MatchString(part) {
			return nil, fmt.Errorf("%w: %q is not made of letters, digits, _ and -, joined by /", errPath, name)
		}
	}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		// Without the kind of error: that the directory is missing does not
		// mean that the document is.
		return nil, fmt.Errorf("the directory of checkpoints cannot be used: %s; make it, or mount it", err) //nolint:errorlint // see above
	}
	return root, nil
}

// fileLimit is how much of a file is read. A note of more than 1 MB is none.
const fileLimit = 1 << 20

// readFile reads a regular file: what is named like a document may be
// anything, a pipe too, which would be waited for.
func readFile(root *os.Root, name string) (string, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err //nolint:wrapcheck // wrapped by the caller, as below
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return "", err //nolint:wrapcheck // see above
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is no regular file", errPath, name)
	}
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	return string(data), err
}
