// Package audit is the tamper-evident log: every change and every API status
// code is an event, events are the leaves of one RFC 6962 Merkle tree, and
// both live in Postgres (AUDIT.md).
//
// A Log is this process's one writer. It collects events from all callers and
// commits them in batches; a caller that is told nil knows that its events are
// committed:
//
//	caller ─ stamp, marshal, hash ─┐
//	caller ─ stamp, marshal, hash ─┼─ queue ─ writer: one transaction per batch
//	caller ─ stamp, marshal, hash ─┘          state updates → tree → append
//
// The writer keeps the tree's frontier in memory and appends with
// compare-and-set against the head row. Where another process was first, or
// where state changes with the log, it takes the head's lock before anything
// else in the transaction and extends what it finds there. Normal work and
// recovery from a lost connection share that path.
//
// Checkpoints of the tree are signed and kept in a Store outside the database
// (Anchors, Archive), so that what the database's owner rewrites is noticed.
//
// What is stored is never changed: the body of an event is kept and hashed
// byte for byte as Event.Marshal wrote it, so the order, names and forms of
// Event's fields are a format, not an implementation.
package audit
