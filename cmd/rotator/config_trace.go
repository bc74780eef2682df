package main

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"strings"

	"rotator/internal/call"
	"rotator/internal/trace"
)

// spansTo says where the standard variables of OpenTelemetry want spans to go.
// The SDK reads them itself, from the process's environment: --env-file is not
// asked. Whether it is to be set up at all is decided here.
type spansTo string

const (
	nowhere     spansTo = ""
	toCollector spansTo = "otlp"
	toConsole   spansTo = "console"
)

// spansWanted reads them. What we cannot do is a warning, and no spans.
func spansWanted(env lookuper) (to spansTo, warning string) {
	get := func(name string) string { v, _ := env.Lookup(name); return strings.TrimSpace(v) }
	first := func(names ...string) (string, string) {
		for _, name := range names {
			if v := get(name); v != "" {
				return name, v
			}
		}
		return "", ""
	}
	endpointName, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	exporter := get("OTEL_TRACES_EXPORTER")
	switch {
	case strings.EqualFold(get("OTEL_SDK_DISABLED"), "true"), exporter == "none", exporter == "" && endpoint == "":
		return nowhere, ""
	case exporter == "console":
		return toConsole, ""
	case exporter != "" && exporter != "otlp":
		return nowhere, "OTEL_TRACES_EXPORTER is not known, no spans are made; use otlp, console or none"
	}
	if name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol != "" && !strings.HasPrefix(protocol, "http/") {
		return nowhere, name + " is not supported, no spans are made; use http/protobuf, for which collectors listen at port 4318"
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return nowhere, endpointName + " is not a URL, no spans are made; write http://host:4318"
	}
	return toCollector, ""
}

// traceparent is the work that started this process, such as a CI job; empty
// where there is none.
func traceparent(env lookuper) string {
	v, _ := env.Lookup("TRACEPARENT")
	return v
}

// recording returns a context whose work is recorded in spans, if the
// environment asks for it; flush sends the last of them. What goes wrong with
// spans is a warning and never more.
func recording(ctx context.Context, s streams) (_ context.Context, flush func()) {
	to, warning := spansWanted(s.env)
	if to == nowhere && warning == "" {
		return ctx, func() {}
	}
	format, _ := s.env.Lookup("LOG_FORMAT")
	logger := newLogger(s.err, &config{Process: processSettings{LogFormat: format}, level: new(slog.LevelVar)})
	warn := func(err error) { logger.WarnContext(ctx, "tracing", "err", call.Sanitize(err.Error())) }
	if to == nowhere {
		logger.WarnContext(ctx, "tracing", "warning", warning)
		return ctx, func() {}
	}
	var console io.Writer
	if to == toConsole {
		console = s.err // stdout is for data
	}
	traced, flush, err := trace.Record(ctx, trace.Config{Console: console, Version: version, Warn: warn})
	if err != nil {
		warn(err)
		return ctx, func() {}
	}
	return traced, flush
}
