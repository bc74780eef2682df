package rotation

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Day is what `d` means in a duration: 24 hours, whatever a calendar says.
const Day = 24 * time.Hour

// ParseDuration reads a duration as Go writes them, with days in front where
// wanted: `90d`, `1d12h`, `1.5d`, `45m`. Age limits and overlaps cannot be
// negative, so a sign is an error.
func ParseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	if strings.ContainsAny(text, "+-") || (found && days == "") || (!found && rest == "") {
		return 0, durationError(text)
	}
	var sum time.Duration
	if found {
		hours, err := time.ParseDuration(days + "h") // 1d reads as 1h, times 24
		if err != nil || !isDecimal(days) || hours > math.MaxInt64/24 {
			return 0, durationError(text)
		}
		sum = hours * 24
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d > math.MaxInt64-sum {
			return 0, durationError(text)
		}
		sum += d
	}
	return sum, nil
}

// isDecimal keeps units out of the days: `1h2d` is no duration.
func isDecimal(text string) bool {
	return strings.Trim(text, "0123456789.") == ""
}

func durationError(text string) error {
	return fmt.Errorf("%q is not a duration: write days, hours, minutes and seconds in that order, such as 90d, 1d12h or 45m, without a sign, less than 292 years", text)
}

// FormatDuration writes d the way people write it in the configuration:
// `90d`, `1d12h`, `45m`. ParseDuration reads it back exactly.
func FormatDuration(d time.Duration) string {
	if d < Day {
		return trimZeros(d.String())
	}
	days := fmt.Sprintf("%dd", d/Day)
	if d%Day == 0 {
		return days
	}
	return days + trimZeros((d % Day).String())
}

// trimZeros drops the units that Go writes although they are zero.
func trimZeros(text string) string {
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
