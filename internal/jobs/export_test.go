package jobs

// Results with the reasons that the exit code asks for.
var (
	BusyResult    = Result{Action: Skipped, cause: causeBusy}
	UndoneResult  = Result{Action: Skipped, cause: causeUndone}
	FailingResult = Result{Action: Skipped, cause: causeFailing}
	NoticeResult  = Result{Action: Skipped, cause: causeNotice}
)

// Followed is what a change is made with whose result is committed next.
var Followed = followed
