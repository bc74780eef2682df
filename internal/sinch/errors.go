package sinch

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// What an error of this package matches with errors.Is. The first four say
// what to do, the others why.
var (
	// ErrRetryable: the same call may succeed later; this package has
	// already repeated it as often as is sensible.
	ErrRetryable = errors.New("may succeed later")
	// ErrPermanent: the same call would be refused again.
	ErrPermanent = errors.New("will not succeed")
	// ErrStateUnknown: a mutation may or may not have been applied.
	ErrStateUnknown = errors.New("may or may not have been applied")
	// ErrNotApplied: the mutation certainly changed nothing.
	ErrNotApplied = errors.New("was not applied")

	// ErrNotFound: Sinch knows no such thing (404).
	ErrNotFound = errors.New("not found")
	// ErrUnauthenticated: the client's own access key, or its token, was
	// refused (401, and 400 of the token endpoint).
	ErrUnauthenticated = errors.New("access key was refused")
	// ErrForbidden: the access key may not do this (403).
	ErrForbidden = errors.New("forbidden")
	// ErrNameTaken: the project has a key with this display name (409).
	ErrNameTaken = errors.New("display name is taken")
	// ErrFull: the project holds as many keys as it may, ten.
	ErrFull = errors.New("project holds the most access keys allowed")
	// ErrIncomplete: an answer that cannot be trusted to be whole. Nothing
	// may be deleted on its word.
	ErrIncomplete = errors.New("answer is incomplete or malformed")
	// ErrNoSubprojects: the account's subprojects cannot be listed at all.
	ErrNoSubprojects = errors.New("no access to subprojects; if this account has none, set SINCH_SUBPROJECTS=off")
	// ErrVerify: a new key was not proven to work.
	ErrVerify = errors.New("access key was not proven to work")
)

// Error is an operation that did not succeed. Its text is fit for the audit
// log: what came from Sinch is sanitised.
type Error struct {
	Operation  string        // as in AUDIT.md section 5, such as "access_keys.create"
	Status     int           // HTTP status, 0 when there was no answer
	Code       string        // error.status of the answer, such as "FAILED_PRECONDITION"
	Message    string        // error.message of the answer
	RetryAfter time.Duration // what the answer asked for, at most 60 s

	kind  []error // sentinels that the error matches
	cause error   // why there was no answer, or none that could be read
}

// Error tells operation, status, Sinch's words, and what to do about it.
func (e *Error) Error() string {
	parts := []string{e.Operation}
	if e.Status != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))))
	}
	for _, text := range []string{e.Code, e.Message} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	if e.cause != nil {
		parts = append(parts, e.cause.Error())
	}
	text := strings.Join(parts, ": ")
	if advice := e.advice(); advice != "" {
		text += " (" + advice + ")"
	}
	return text
}

// Unwrap gives the sentinels and the cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return e.kind
	}
	return append(append([]error(nil), e.kind...), e.cause)
}

func (e *Error) advice() string {
	switch {
	case e.Status == http.StatusForbidden && strings.HasPrefix(e.Operation, "access_keys."):
		return "the Access Keys API is available to selected accounts: ask Sinch to enable it, and check that the key may manage this project"
	case e.Status >= 300 && e.Status <= 399:
		return "redirects are not followed: check the configured URL"
	default:
		return ""
	}
}

// unsent is the error of a request that did not leave this process.
func (r request) unsent(cause error) *Error {
	e := &Error{Operation: r.operation, kind: []error{ErrNotApplied}, cause: cause}
	var exchange *Error
	if errors.As(cause, &exchange) {
		e.RetryAfter = exchange.RetryAfter
	}
	return e
}

// unreadable is the error of a success whose body makes no sense.
func (r request) unreadable(a answer, cause error) *Error {
	e := &Error{Operation: r.operation, Status: a.status, kind: []error{ErrIncomplete}, cause: cause}
	switch {
	case r.mutating:
		e.kind = []error{ErrStateUnknown}
	case r.operation == opExchange: // of no harm to ask again
		e.kind = append(e.kind, ErrRetryable)
	}
	return e
}

// refused is the error of an answer other than 2xx.
func (r request) refused(a answer, now time.Time) *Error {
	e := &Error{Operation: r.operation, Status: a.status, RetryAfter: retryAfter(a.header, now)}
	if r.inspect != nil {
		e.Code, e.Message = r.errorText(a.status, a.body)
	}
	e.kind = r.kinds(a.status, e.Code)
	return e
}

// kinds sorts a status into the sentinels, by status and error.status only:
// Sinch's other fields are not to be relied on.
func (r request) kinds(status int, code string) []error {
	switch {
	case status == http.StatusUnauthorized && r.once:
		return []error{ErrUnauthenticated, ErrNotApplied}
	case status == http.StatusUnauthorized, status == http.StatusBadRequest && r.operation == opExchange:
		return []error{ErrUnauthenticated, ErrPermanent}
	case status == http.StatusTooManyRequests:
		return []error{ErrRetryable, ErrNotApplied}
	case status == http.StatusForbidden:
		return []error{ErrForbidden, ErrPermanent}
	case status == http.StatusNotFound:
		return []error{ErrNotFound, ErrPermanent}
	case status == http.StatusConflict && (r.operation == opCreate || r.operation == opUpdate):
		return []error{ErrNameTaken, ErrPermanent}
	case status == http.StatusBadRequest && r.operation == opCreate && code == "FAILED_PRECONDITION":
		return []error{ErrFull, ErrPermanent}
	case status == http.StatusNotImplemented && !r.mutating:
		return []error{ErrPermanent}
	case status >= 500, status == http.StatusRequestTimeout:
		return r.unanswered()
	case status < 400 && r.mutating: // a redirect's target may have got it
		return []error{ErrStateUnknown}
	default:
		return []error{ErrPermanent}
	}
}

// unanswered is what a request comes to that may have been applied or not.
func (r request) unanswered() []error {
	switch {
	case r.once:
		return []error{ErrStateUnknown}
	case r.mutating:
		return []error{ErrRetryable, ErrStateUnknown}
	default:
		return []error{ErrRetryable}
	}
}
