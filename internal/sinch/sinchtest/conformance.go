package sinchtest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

//go:embed openapi.yaml
var description []byte

// Conformance passes requests on and holds both them and their answers
// against openapi.yaml. It changes neither; a test asks for the Violations.
type Conformance struct {
	next   http.Handler
	router routers.Router

	mu         sync.Mutex
	violations []string
}

// Check returns a Conformance around next, usually a Server. Answers that a
// Server's Fault made or changed are exempt.
func Check(next http.Handler) (*Conformance, error) {
	document, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		return nil, fmt.Errorf("reading openapi.yaml: %w", err)
	}
	if err := document.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validating openapi.yaml: %w", err)
	}
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		return nil, fmt.Errorf("routing openapi.yaml: %w", err)
	}
	return &Conformance{next: next, router: router}, nil
}

// Violations returns what did not conform so far, one line each. They hold
// excerpts of requests and answers, secrets included: for tests only.
func (c *Conformance) Violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.violations)
}

func (c *Conformance) violated(r *http.Request, what string, err error) {
	line := fmt.Sprintf("%s %s: %s: %s", r.Method, r.URL.EscapedPath(), what, strings.Join(strings.Fields(err.Error()), " "))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violations = append(c.violations, line)
}

// ServeHTTP passes the request on and checks it and its answer.
func (c *Conformance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	input := c.checkRequest(r, body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	out := &checked{ResponseWriter: w}
	// A withheld answer panics through here, unchecked: there is none.
	c.next.ServeHTTP(out, r)
	if input != nil && !out.exempt {
		c.checkResponse(r, input, out)
	}
}

// checkRequest returns nil where the description has no such operation.
func (c *Conformance) checkRequest(r *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	probe := r.Clone(r.Context()) // validation consumes the body
	probe.Body = io.NopCloser(bytes.NewReader(body))
	found, params, err := c.router.FindRoute(probe)
	if err != nil {
		c.violated(r, "request", err)
		return nil
	}
	input := &openapi3filter.RequestValidationInput{
		Request: probe, PathParams: params, Route: found,
		Options: &openapi3filter.Options{AuthenticationFunc: authenticated},
	}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		c.violated(r, "request", err)
	}
	return input
}

var errNotAuthenticated = errors.New("no such credentials in the Authorization header")

func authenticated(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	kind, credentials, _ := strings.Cut(in.RequestValidationInput.Request.Header.Get("Authorization"), " ")
	if credentials == "" || !strings.EqualFold(kind, in.SecurityScheme.Scheme) {
		return errNotAuthenticated
	}
	return nil
}

func (c *Conformance) checkResponse(r *http.Request, request *openapi3filter.RequestValidationInput, out *checked) {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: out.status, Header: out.Header(),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   out.status >= http.StatusBadRequest && out.body.Len() == 0,
		},
	}
	input.SetBodyBytes(out.body.Bytes())
	if err := openapi3filter.ValidateResponse(r.Context(), input); err != nil {
		c.violated(r, "answer", err)
	}
}

// checked keeps a copy of what is answered.
type checked struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	exempt bool // a fault made this answer
}

// WriteHeader notes the status.
func (w *checked) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write copies the body.
func (w *checked) Write(p []byte) (int, error) {
	w.body.Write(p)
	n, err := w.ResponseWriter.Write(p)
	if err != nil {
		return n, fmt.Errorf("passing the answer on: %w", err)
	}
	return n, nil
}

// Unwrap lets http.ResponseController flush.
func (w *checked) Unwrap() http.ResponseWriter { return w.ResponseWriter }
