package audit

import (
	"context"
	"syscall"
)

// Linkless is a DirStore on a file system without links.
type Linkless struct{ DirStore }

// Create is DirStore's.
func (l Linkless) Create(ctx context.Context, name string, fields map[string]string) error {
	root, err := l.open(ctx, name)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // a test's
	return createIn(root, func(string, string) error { return syscall.EPERM }, name, fields)
}
