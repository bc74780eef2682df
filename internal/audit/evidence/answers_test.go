package evidence_test

// answers are what January's tables must say: worked out from the story by
// hand.
var answers = map[string]struct {
	columns    string
	exceptions int64
	want       []string
}{
	"population": {"project_id key_id state in_scope by_rotator created_at deleted_at age_s at_start at_end replaced_by rotation_id trigger actor", 0, []string{
		"p1 | adopted | deleted | true | false | 2025-11-01 | 2026-01-12T11:00 | 6260400 | true | false | second | aaaaaaaaaaaa1 | schedule | schedule@host",
		"p1 | second | deleted | true | true | 2026-01-05T10:00 | 2026-01-20T10:15 | 1296900 | false | false | third | aaaaaaaaaaaa1 | schedule | schedule@host",
		"p1 | third | current | true | true | 2026-01-20T10:00 | - | 1000800 | false | true | - | aaaaaaaaaaaa2 | compromised | alice@desk",
		"p2 | blinker | current | true | false | 2025-12-01 | - | 5356800 | true | true | - | - | - | -",
		"p2 | human | unmanaged | false | false | 2026-01-20T15:00 | - | 982800 | false | true | - | - | - | -",
		"p2 | early | current | true | false | 2026-01-22 | - | 864000 | false | true | - | - | - | -",
		"p2 | ghost | gone | true | true | 2026-01-20T13:00 | - | 990000 | false | false | - | bbbbbbbbbbbb1 | - | -",
		"p2 | lost | gone | true | false | 2026-01-10 | - | 1900800 | false | false | - | - | - | -",
		"p2 | short | deleted | true | true | 2026-01-20T13:00 | 2026-01-20T14:00 | 3600 | false | false | - | bbbbbbbbbbbb2 | - | -",
		"p2 | stranger | current | true | false | 2026-01-20T15:00 | - | 982800 | false | true | - | - | - | -",
		"p2 | undead | current | true | false | 2025-12-01 | 2026-01-20T13:00 | 5356800 | true | true | - | - | - | -",
		"p2 | vanished | gone | true | false | 2025-12-01 | - | 5356800 | true | false | - | - | - | -",
		"p2 | zombie | current | true | false | 2025-12-01 | 2025-12-30T12:00 | 5356800 | true | true | - | - | - | -",
		"p3 | lonely | current | true | false | 2025-12-01 | - | 5356800 | true | true | - | - | - | -",
		"p4 | blind | created | true | true | 2026-01-20T13:00 | - | 990000 | false | true | - | bbbbbbbbbbbb3 | - | -",
		"p5 | old | deleted | true | false | 2025-12-10 | 2026-01-20T12:00 | 3585600 | true | false | - | - | - | -",
		"p5 | mid | current | true | false | 2025-12-31 | - | 2764800 | false | true | - | - | - | -",
		"p6 | drifted | deleted | true | false | 2025-12-01 | 2026-01-14T07:00 | 3826800 | true | false | fresh | aaaaaaaaaaaa5 | drift | schedule@host",
		"p6 | fresh | current | true | true | 2026-01-14T07:00 | - | 1530000 | false | true | - | aaaaaaaaaaaa5 | drift | schedule@host",
		"p6 | cutoff | gone | true | true | 2026-01-14T08:00 | - | 1526400 | false | false | - | aaaaaaaaaaaa8 | - | -",
		"p7 | hostile | current | true | false | 2025-12-01 | - | 5356800 | true | true | - | - | - | -",
		`p7 | late | created | true | true | 2026-01-31T20:00 | - | 14400 | false | true | - | aaaaaaaaaaaa7 | compromised | =cmd|"/c calc"`,
		"p8 | frozen | current | true | false | 2025-10-20 | - | 8985600 | true | true | - | - | - | -",
		"p8 | held | held | true | false | 2025-09-01 | - | 13219200 | true | true | - | - | - | -",
	}},
	// adopted, blinker, undead, vanished, zombie, lonely, old, drifted,
	// hostile, held and frozen at the start; mid is seen first; ghost, lost,
	// vanished and cutoff are gone; undead is the difference: deleted, and still there.
	"roll_forward": {"in_scope at_start made first_seen deleted gone at_end difference", 1, []string{
		"true | 11 | 11 | 1 | 6 | 4 | 14 | -1",
		"false | 0 | 1 | 0 | 0 | 0 | 1 | 0",
	}},
	"differences": {"key_id kind exception lists_in_life lists_that_show_it last_listed_at", 9, []string{
		"blinker | missing from lists | true | 31 | 30 | 2026-01-31T06:00",
		"early | listed before its creation | true | 10 | 10 | 2026-01-31T06:00",
		"ghost | missing from lists | true | 11 | 0 | -",
		"lost | not on record | true | 22 | 15 | 2026-01-25T06:00",
		"stranger | not made by rotator | true | 11 | 11 | 2026-01-31T06:00",
		"undead | listed after its deletion | true | 20 | 20 | 2026-01-31T06:00",
		"vanished | gone without a deletion | true | 31 | 20 | 2026-01-20T06:00",
		"zombie | listed after its deletion | true | 0 | 0 | 2026-01-31T06:00",
		"blind | project not listed | true | 0 | 0 | -",
		"human | outside of the scope | false | 11 | 11 | 2026-01-31T06:00",
		"short | lived between two lists | false | 0 | 0 | -",
		"drifted | vanished | false | 14 | 12 | 2026-01-12T06:00",
		"cutoff | deleted by a call alone | false | 17 | 8 | 2026-01-22T06:00",
		"late | made after the last list | false | 0 | 0 | -",
	}},
	"unlisted": {"project_id unlisted_from unlisted_to length_s detail", 2, []string{
		"p3 | 2026-01-20T06:00 | 2026-02-01 | 1015200 | no list in between",
		"p4 | 2026-01-01T06:00 | 2026-02-01 | 2656800 | asked for, and never listed whole",
	}},
	"rotations": {"rotation_id outcome trigger actor old_key_id new_key_id planned_at created_at verified_at published_at superseded_at retire_at old_key_deleted_at failed_at error vault_path vault_version overlap_s", 0, []string{
		"aaaaaaaaaaaa1 | published | schedule | schedule@host | adopted | second | 2026-01-05T10:00 | 2026-01-05T10:01 | 2026-01-05T10:02 | 2026-01-05T10:03 | 2026-01-05T10:03 | 2026-01-12T10:03 | 2026-01-12T11:00 | - | - | sinch/p1/billing-api | 1 | 604800",
		"aaaaaaaaaaaa3 | failed | - | - | - | - | - | - | - | - | - | - | - | 2026-01-12T07:00 | - | - | - | -",
		"aaaaaaaaaaaa4 | failed | - | - | - | - | - | - | - | - | - | - | - | 2026-01-12T07:00 | vault said 403 | - | - | -",
		"aaaaaaaaaaaa5 | published | drift | schedule@host | drifted | fresh | 2026-01-14T07:00 | 2026-01-14T07:00 | - | 2026-01-14T07:00 | - | - | - | - | - | - | - | -",
		"aaaaaaaaaaaa8 | open | - | - | - | cutoff | - | 2026-01-14T08:00 | - | - | - | - | - | - | - | - | - | -",
		"aaaaaaaaaaaa2 | published | compromised | alice@desk | second | third | 2026-01-20T10:00 | 2026-01-20T10:00 | - | 2026-01-20T10:05 | - | - | 2026-01-20T10:15 | - | - | - | - | -",
		"bbbbbbbbbbbb1 | open | - | - | - | ghost | - | 2026-01-20T13:00 | - | - | - | - | - | - | - | - | - | -",
		"bbbbbbbbbbbb2 | open | - | - | - | short | - | 2026-01-20T13:00 | - | - | - | - | - | - | - | - | - | -",
		"bbbbbbbbbbbb3 | open | - | - | - | blind | - | 2026-01-20T13:00 | - | - | - | - | - | - | - | - | - | -",
		`aaaaaaaaaaaa7 | open | compromised | =cmd|"/c calc" | hostile | late | 2026-01-31T20:00 | 2026-01-31T20:00 | - | - | - | - | - | - | - | - | - | -`,
	}},
	"deletions": {"deleted_at key_id kind created_at age_s max_age_s exception trigger reason", 1, []string{
		"2026-01-12T11:00 | adopted | superseded | 2025-11-01 | 6260400 | 7776000 | false | schedule | its overlap is over",
		"2026-01-20T10:15 | second | superseded | 2026-01-05T10:00 | 1296900 | 7776000 | false | compromised | laptop lost",
		"2026-01-20T12:00 | old | superseded | 2025-12-10 | 3585600 | 1728000 | true | schedule | its overlap is over",
		"2026-01-20T13:00 | undead | superseded | 2025-12-01 | 4366800 | 7776000 | false | - | -",
		"2026-01-20T14:00 | short | orphan | 2026-01-20T13:00 | 3600 | 7776000 | false | - | -",
	}},
	"ages": {"moment keys youngest_s median_s p95_s oldest_s older_than_limit without_limit", 0, []string{
		"at the end | 14 | 14400 | 2764800 | 13219200 | 13219200 | 3 | 1",
		"at deletion | 5 | 3600 | 3585600 | 6260400 | 6260400 | 1 | 0",
	}},
	"age_distribution": {"over_pct up_to_pct at_end at_deletion", 0, []string{
		"0 | 10 | 1 | 1", "10 | 20 | 4 | 1", "20 | 30 | 0 | 0", "30 | 40 | 0 | 0", "40 | 50 | 0 | 0", "50 | 60 | 0 | 1",
		"60 | 70 | 5 | 0", "70 | 80 | 0 | 0", "80 | 90 | 0 | 1", "90 | 100 | 0 | 0", "100 | - | 3 | 1", "- | - | 1 | 0",
	}},
	"overdue_at_end": {"key_id state age_s max_age_s overdue_s on_record", 3, []string{
		"held | held | 13219200 | 7776000 | 5443200 | held: made by somebody else, and ROTATOR_ADOPT=keep",
		"frozen | current | 8985600 | 7776000 | 1209600 | paused: freeze again",
		"mid | current | 2764800 | 1728000 | 1036800 | clock_skew: Sinch's clock differs",
	}},
	"overdue": {"key_id state max_age_s overdue_from overdue_to overdue_s at_end on_record", 5, []string{
		"held | held | 7776000 | 2026-01-01 | 2026-02-01 | 2678400 | true | held: made by somebody else, and ROTATOR_ADOPT=keep",
		"old | deleted | 2592000 | 2026-01-09 | 2026-01-15T06:00 | 540000 | false | vault said 403",
		"old | deleted | 1728000 | 2026-01-15T06:00 | 2026-01-20T12:00 | 453600 | false | clock_skew: Sinch's clock differs",
		"frozen | current | 7776000 | 2026-01-18 | 2026-02-01 | 1209600 | true | paused: freeze again",
		"mid | current | 1728000 | 2026-01-20 | 2026-02-01 | 1036800 | true | clock_skew: Sinch's clock differs",
	}},
	"failed_rotations": {"failed_at project_id credential rotation_id error orphan_key_id published_later_at", 2, []string{
		"2026-01-12T07:00 | p5 | sms | aaaaaaaaaaaa3 | - | - | -",
		"2026-01-12T07:00 | p5 | sms | aaaaaaaaaaaa4 | vault said 403 | orphaned | -",
	}},
	"refusals": {"refused_at credential key_id guard reason", 1, []string{
		"2026-01-18T07:00 | sms | old | clock_skew | clock_skew: Sinch's clock differs",
	}},
	"unmanaged": {"project_id credential key_id state in_scope created_at age_s", 1, []string{
		"p2 | break-glass | human | unmanaged | false | 2026-01-20T15:00 | 982800",
	}},
	"policy_changes": {"changed_at project_id policy policy_before max_age_s max_age_before_s exception", 1, []string{
		"2026-01-06T11:00 | p2 | max_age=90d | - | 7776000 | - | false",
		"2026-01-15T12:00 | p5 | max_age=20d | max_age=30d | 1728000 | 2592000 | true",
	}},
	"drift": {"noticed_at project_id credential key_id rotation_id reason", 1, []string{
		"2026-01-14T07:00 | p6 | voice | drifted | aaaaaaaaaaaa5 | gone at Sinch",
	}},
	"pauses": {"paused_at resumed_at length_s paused_by reason resumed_by resume_reason", 2, []string{
		"2026-01-16T13:00 | 2026-01-16T15:00 | 7200 | bob@desk | freeze | alice@desk | thawed",
		"2026-01-30T12:00 | - | 129600 | bob@desk | freeze again | - | -",
	}},
	"compromise_response": {"reported_at project_id credential replaced_at deleted_at to_replace_s to_delete_s actor reason", 2, []string{
		"2026-01-20T10:00 | p1 | billing-api | 2026-01-20T10:05 | 2026-01-20T10:15 | 300 | 900 | alice@desk | laptop lost",
		`2026-01-31T20:00 | p7 | <script>alert(1)</script> | - | - | - | - | =cmd|"/c calc" | </td></tr></table><img src=x onerror=alert(2)>`,
	}},
	"open_intents": {"intended_at operation project_id credential", 1, []string{"2026-01-31T20:00 | access_keys.delete | p1 | billing-api"}},
	"runs":         {"day trigger started finished rotated", 0, runsOfJanuary()},
	"unfinished_runs": {"started_at trigger actor host build", 1, []string{
		"2026-01-06T12:00 | manual | schedule@host | host | v1.2.3",
	}},
	"schedule_gaps": {"gap_from gap_to length_s other_runs", 1, []string{"2026-01-22T06:00 | 2026-01-26T06:00 | 345600 | 3"}},
	"configurations": {"first_run_at last_run_at runs host build config_sha256 policy", 0, []string{
		"2026-01-01T06:00 | 2026-01-31T06:00 | 31 | host | v1.2.3 | c0ffee | max_age=90d",
		"2026-01-06T12:00 | 2026-01-06T12:00 | 1 | host | v1.2.3 | beef | -",
	}},
	// Six projects are listed on 31 days, p3 too until the 20th.
	"api_status_codes": {"service operation http_status outcome calls first_at last_at", 0, []string{
		"sinch | access_keys.delete | 204 | ok | 1 | 2026-01-12T11:00 | 2026-01-12T11:00",
		"sinch | access_keys.list | 200 | ok | 206 | 2026-01-01T06:00 | 2026-01-31T06:00",
		"sinch | access_keys.list | 403 | error | 42 | 2026-01-01T06:00 | 2026-01-31T06:00",
	}},
	"log_events": {"occurred_at type exception actor reason epoch counters", 3, []string{
		"2026-01-16T12:00 | audit.rebased | true | dba@desk | db-2 promoted | 2 | -",
		`2026-01-16T12:00 | audit.spill_replayed | true | schedule@host | - | - | {"events":3}`,
		"2026-01-16T12:00 | audit.partition_dropped | true | schedule@host | older than ten years | - | -",
		"2026-01-16T12:00 | audit.exported | false | auditor@desk | - | - | -",
	}},
	"unanchored":  {"events last_at", 1, []string{"30 | 2026-01-31T20:00"}},
	"lost_leases": {"occurred_at project_id", 0, []string{"2026-01-16T12:00 | p1"}},
}

// runsOfJanuary: one each morning, by hand from the 23rd to the 25th, and the
// one of the 6th that never ended.
func runsOfJanuary() []string {
	var days []string
	for d := from; d.Before(to); d = d.AddDate(0, 0, 1) {
		day, trigger := d.Format("2006-01-02"), "schedule"
		if n := d.Day(); n >= 23 && n <= 25 {
			trigger = "manual"
		}
		if d.Day() == 6 {
			days = append(days, day+" | manual | 1 | 0 | -")
		}
		days = append(days, day+" | "+trigger+" | 1 | 1 | 1")
	}
	return days
}
