package audit

var (
	ParseLine = parseLine
	Lock      = lock
)
