package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"rotator/internal/secret"
)

// Config says how spans leave the process. All else OpenTelemetry's SDK reads
// from its own variables: endpoint, headers, TLS, sampler, resource.
type Config struct {
	Console io.Writer // gets the spans; nil: they go to a collector, by OTLP over HTTP
	Version string    // of this program
	// Warn is told, at most once a minute, that spans got lost. They cannot
	// be had again; the work goes on.
	Warn func(error)
}

// flushLimit is how long a process that ends waits for its last spans.
const flushLimit = 3 * time.Second

// warnEvery is how often it is said that spans get lost.
const warnEvery = time.Minute

// Record returns a context whose work is recorded in spans. Call flush at the
// end: it sends what is left, and takes no longer than a few seconds.
func Record(ctx context.Context, cfg Config) (_ context.Context, flush func(), err error) {
	// The SDK's own logger may show variables, and headers are secrets.
	otel.SetLogger(logr.Discard())
	out := &exporter{warn: cfg.Warn}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(out.lost))
	if cfg.Console != nil {
		out.SpanExporter, err = stdouttrace.New(stdouttrace.WithWriter(cfg.Console))
	} else {
		out.SpanExporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return ctx, nil, fmt.Errorf("setting up the exporter of spans: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "rotator"), attribute.String("service.version", cfg.Version),
	), resource.WithFromEnv())
	if err != nil {
		out.lost(err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(out), sdk.WithResource(about))
	ctx = context.WithValue(ctx, recorderKey{}, recorder(&spans{provider.Tracer("rotator")}))
	return ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
		defer cancel()
		if err := provider.Shutdown(limit); err != nil {
			out.lost(err)
		}
	}, nil
}

// exporter keeps its failures from the work, and from filling the log.
type exporter struct {
	sdk.SpanExporter
	warn func(error)

	mu   sync.Mutex
	said time.Time
}

// ExportSpans sends spans, or says that they are lost.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.lost(fmt.Errorf("%d spans could not be exported: %w", len(spans), err))
	}
	return nil
}

func (e *exporter) lost(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); e.said.IsZero() || now.Sub(e.said) >= warnEvery {
		e.said = now
		// The collector's answer may repeat what it was sent, headers too.
		said, _, _ := strings.Cut(err.Error(), "body:")
		e.warn(errors.New(clean(said)))
	}
}

// spans is OpenTelemetry as a recorder.
type spans struct{ tracer api.Tracer }

func (s *spans) start(ctx context.Context, from ids, name string, sends bool, attrs []Attr) (context.Context, recorded) {
	if !api.SpanContextFromContext(ctx).IsValid() && from.trace != [16]byte{} {
		ctx = api.ContextWithRemoteSpanContext(ctx, api.NewSpanContext(api.SpanContextConfig{
			TraceID: from.trace, SpanID: from.span, TraceFlags: api.TraceFlags(0).WithSampled(from.sampled), Remote: true,
		}))
	}
	kind := api.SpanKindInternal
	if sends {
		kind = api.SpanKindClient
	}
	ctx, span := s.tracer.Start(ctx, clean(name), api.WithSpanKind(kind), api.WithAttributes(translated(attrs)...))
	return ctx, spanOf{span}
}

type spanOf struct{ span api.Span }

func (s spanOf) ids() ids {
	c := s.span.SpanContext()
	return ids{trace: c.TraceID(), span: c.SpanID(), sampled: c.IsSampled()}
}

func (s spanOf) end(attrs []Attr, failed string) {
	s.span.SetAttributes(translated(attrs)...)
	if failed != "" {
		s.span.SetStatus(codes.Error, clean(failed))
	}
	s.span.End()
}

func translated(attrs []Attr) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(attrs))
	for _, a := range attrs {
		if a.Text != "" {
			out = append(out, attribute.String(a.Key, clean(a.Text)))
		} else {
			out = append(out, attribute.Int(a.Key, a.Number))
		}
	}
	return out
}

// queries are those of URLs in a text: they hold page tokens and more.
var queries = regexp.MustCompile(`\?[^\s"']+`)

// textLimit is the longest text that leaves in a span, in bytes.
const textLimit = 500

// clean makes a text fit to leave: valid UTF-8, without which a whole batch
// would be lost, without control characters, secrets and queries of URLs.
func clean(text string) string {
	text = strings.ToValidUTF8(queries.ReplaceAllString(secret.Scrub(text), "?…"), "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > textLimit {
		text = strings.ToValidUTF8(text[:textLimit], "")
	}
	return text
}
