package audit

// ParseLine is parseLine.
var ParseLine = parseLine
