package vault

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"rotator/internal/call"
)

// Retryable: nothing is wrong with the request, a later one may succeed.
var (
	// ErrUnreachable: no usable answer came from Vault.
	ErrUnreachable = errors.New("vault is unreachable")
	// ErrSealed: Vault is up but sealed; a person has to unseal it.
	ErrSealed = errors.New("vault is sealed")
)

// ErrStateUnknown is a write that may or may not have been applied: its answer
// was lost, or was a 5xx or a redirect. Read, then decide. It comes together
// with ErrUnreachable, ErrSealed or call.ErrNotRecorded.
var ErrStateUnknown = errors.New("vault write may or may not have been applied")

// Permanent: the same request would fail again, and nothing was changed.
var (
	// ErrConfig: the configuration cannot work.
	ErrConfig = errors.New("vault configuration")
	// ErrNotFound: the path has no such version, or none at all.
	ErrNotFound = errors.New("nothing at this vault path")
	// ErrDenied: the login is refused, or lacks a capability.
	ErrDenied = errors.New("vault denies access")
	// ErrCASMismatch: somebody else has written the path since it was read.
	ErrCASMismatch = errors.New("vault path has moved on")
	// ErrExists: a document that is written once is there already. Read to see
	// what it is.
	ErrExists = errors.New("vault path is taken already")
	// ErrMismatch: what was read back is not what was written.
	ErrMismatch = errors.New("vault holds something else than was written")
	// ErrRejected: Vault calls the request itself wrong.
	ErrRejected = errors.New("vault rejects the request")
)

// retryable says whether a read is worth repeating.
func retryable(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrSealed)
}

// verdict turns what the transport saw into one of our errors. The library's
// own error is only used where no answer came: its text repeats bodies.
func (a *answer) verdict(l label, err error) error {
	switch {
	case errors.Is(err, call.ErrNotSent):
		return err
	case errors.Is(err, call.ErrNotRecorded) && l.mutating:
		return fmt.Errorf("%w: %w", ErrStateUnknown, err)
	case errors.Is(err, call.ErrNotRecorded):
		return err
	case a.status == 0:
		return l.lost(fmt.Errorf("%w: %w", ErrUnreachable, sanitised{err}))
	case a.status >= 200 && a.status <= 299 && err == nil:
		return nil
	case a.status < 400:
		return l.lost(fmt.Errorf("%w: unusable answer with status %d", ErrUnreachable, a.status))
	}
	return a.refusal(l)
}

// refusal is the error of an answer with status 400 or more.
func (a *answer) refusal(l label) error {
	said := fmt.Sprintf("status %d: %s", a.status, call.Sanitize(a.text))
	if kind := transitRefusal(a.text); kind != nil && l.operation == opTransit {
		return fmt.Errorf("%w: %s", kind, said)
	}
	switch {
	case a.status == http.StatusServiceUnavailable && strings.Contains(a.text, "sealed"):
		return l.lost(fmt.Errorf("%w: %s", ErrSealed, said))
	case a.status == http.StatusInternalServerError && l.operation == opRenew: // "past the max TTL, cannot renew"
		return fmt.Errorf("%w: %s", ErrRejected, said)
	case a.status >= 500:
		return l.lost(fmt.Errorf("%w: %s", ErrUnreachable, said))
	case a.status == http.StatusTooManyRequests, a.status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %s", ErrUnreachable, said)
	case a.status == http.StatusNotFound && a.text == "" && l.operation != opLogin:
		return ErrNotFound
	case a.status == http.StatusForbidden, a.status == http.StatusUnauthorized, l.operation == opLogin:
		return fmt.Errorf("%w: %s%s", ErrDenied, said, l.policyHint())
	case strings.Contains(a.text, "check-and-set parameter did not match"):
		return fmt.Errorf("%w: %s", ErrCASMismatch, said)
	}
	return fmt.Errorf("%w: %s", ErrRejected, said)
}

// lost adds ErrStateUnknown to the error of a write.
func (l label) lost(err error) error {
	if l.mutating {
		return fmt.Errorf("%w: %w", ErrStateUnknown, err)
	}
	return err
}

// sanitised prints a remote or library error harmlessly and still unwraps.
type sanitised struct{ err error }

func (s sanitised) Error() string {
	if s.err == nil {
		return "no answer"
	}
	return call.Sanitize(s.err.Error())
}

func (s sanitised) Unwrap() error { return s.err }
