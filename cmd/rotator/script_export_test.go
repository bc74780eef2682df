package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"rotator/internal/audit"
)

// when puts the time of the first event of a type into a variable: when
// VARIABLE TYPE.
func when(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	for r, err := range audit.List(w.t.Context(), w.pool, audit.Filter{Type: args[1], Limit: 1}) {
		ts.Check(err)
		ts.Setenv(args[0], time.UnixMicro(r.Event.TimeUS).UTC().Format(time.RFC3339Nano))
		return
	}
	ts.Fatalf("there is no event of type %s", args[1])
}

// disclosed checks that the newest event of the log tells of an export that
// wrote exactly this file (or stdout), and of what was asked for: disclosed
// FILE FORMAT ROWS FILTER. Negated, that the log does not tell of the file.
func disclosed(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	text := ts.ReadFile(args[0])
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	if which := w.leaked(text); which != "" {
		ts.Fatalf("%s holds %s", args[0], which)
	}
	if neg {
		if n := len(w.rows(ts, "SELECT body::text FROM audit.event WHERE type = 'audit.exported' AND body ->> 'reason' LIKE '%"+digest+"%'")); n > 0 {
			ts.Fatalf("%d events tell of %s", n, args[0])
		}
		return
	}
	for r, err := range audit.List(w.t.Context(), w.pool, audit.Filter{Limit: 1, Newest: true}) {
		ts.Check(err)
		e, want := r.Event, "export as "+args[1]+", sha256 "+digest
		if e.Type != audit.AuditExported || e.Reason != want || e.Policy != args[3] || e.Actor != "alice@desk" ||
			show(float64(e.Counters["rows"])) != args[2] || e.Counters["bytes"] != int64(len(text)) {
			ts.Fatalf("the newest event is %s; want %s, %s rows of %s in %d bytes", r.Body, want, args[2], args[3], len(text))
		}
		if args[1] != "jsonl" && !strings.Contains(text, e.ID) && strings.Contains(text, "export_event") {
			ts.Fatalf("%s does not name the event %s", args[0], e.ID)
		}
	}
}
