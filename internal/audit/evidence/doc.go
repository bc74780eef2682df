// Package evidence makes the evidence pack of an audit period: what an auditor
// needs to judge how access keys were kept, each table with the SQL that gives
// it, so that nobody has to take our word for it.
//
// Collect asks every question in one transaction that sees one state of the
// log, and keeps the answers on disk:
//
//	questions ─ one REPEATABLE READ READ ONLY transaction ─ spool ─ Pack ─┬─ HTML
//	newest checkpoint, read before the transaction begins ─────────────────┤  JSON
//	                                                                       └─ CSV
//
// Memory does not grow with the log or with the answers. A Pack is written as
// often as needed, without the database.
//
// A period is half open: from is in it, to is not. Everything is told as it
// was at the end of the period, so that a report that is made later says the
// same: a key that was deleted a day after the end still counts as there.
package evidence
