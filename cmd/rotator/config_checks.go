package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch"
)

// secretType marks the fields whose text is never shown.
var secretType = reflect.TypeFor[secret.Value]()

// unlimited is the value of a limit that does not limit, as package jobs
// reads it.
const unlimited = -1

// complaint is what a check has against a text: "… is not a duration", and
// what would be right. wrong must not contain the text itself.
type complaint struct{ wrong, right string }

// check looks at a variable's text and returns it in the form that
// go-envconfig decodes.
type check func(text string, args []string) (string, *complaint)

// checks are the kinds that a settings field's check tag may name.
var checks = map[string]check{
	"bool":         checkBool,
	"count":        checkCount,
	"duration":     checkDuration,
	"file":         checkFile,
	"hostport":     checkHostPort,
	"limit":        checkLimit,
	"one":          checkOneOf,
	"patterns":     checkPatterns,
	"postgres":     checkPostgres,
	"probes":       checkProbes,
	"rate":         checkRate,
	"signer":       checkSigner,
	"url":          checkURL,
	"vaultpath":    checkVaultPath,
	"verifierkeys": checkVerifierKeys,
}

func checkBool(text string, _ []string) (string, *complaint) {
	if _, err := strconv.ParseBool(text); err != nil {
		return "", &complaint{"is neither true nor false", "write true or false"}
	}
	return text, nil
}

// checkCount wants a whole number from args[0].
func checkCount(text string, args []string) (string, *complaint) {
	least, _ := strconv.Atoi(args[0])
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > math.MaxInt32 {
		return "", &complaint{"is not a whole number from " + args[0], "write for example 8"}
	}
	return strconv.Itoa(n), nil
}

// checkDuration wants a duration from args[0].
func checkDuration(text string, args []string) (string, *complaint) {
	d, err := rotation.ParseDuration(text)
	if err != nil {
		return "", &complaint{"is not a duration", "write for example 90d, 36h, 15m or 1d12h"}
	}
	if least, _ := time.ParseDuration(args[0]); d < least {
		return "", &complaint{"is too short", "write at least " + args[0]}
	}
	return d.String(), nil
}

// checkFile wants the path of something that exists.
func checkFile(text string, _ []string) (string, *complaint) {
	if _, err := os.Stat(text); err != nil {
		return "", &complaint{"cannot be found: " + errors.Unwrap(err).Error(), "name an existing file that this process may read"}
	}
	return text, nil
}

// checkHostPort wants an address to listen on.
func checkHostPort(text string, _ []string) (string, *complaint) {
	_, port, err := net.SplitHostPort(text)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > math.MaxUint16 {
		return "", &complaint{"is not an address to listen on", "write host:port, for example 127.0.0.1:9464 or :9464"}
	}
	return text, nil
}

// checkLimit wants a whole number from 0, or unlimited.
func checkLimit(text string, _ []string) (string, *complaint) {
	if text == "unlimited" {
		return strconv.Itoa(unlimited), nil
	}
	out, err := checkCount(text, []string{"0"})
	if err != nil {
		return "", &complaint{"is not a whole number from 0", "write a number, 0 for none, or unlimited"}
	}
	return out, nil
}

// checkOneOf wants one of the words after "one of".
func checkOneOf(text string, args []string) (string, *complaint) {
	words := args[1:]
	if !slices.Contains(words, text) {
		return "", &complaint{"is not known", "write one of " + strings.Join(words, ", ")}
	}
	return text, nil
}

func checkPatterns(text string, _ []string) (string, *complaint) {
	if _, err := rotation.ParsePatterns(text); err != nil {
		return "", &complaint{"is not a list of patterns: " + err.Error(), "write project/credential or credential, comma-separated; * is everything"}
	}
	return text, nil
}

// checkPostgres wants what pgx can read. Its error is dropped: it quotes.
func checkPostgres(text string, _ []string) (string, *complaint) {
	if _, err := pgxpool.ParseConfig(text); err != nil {
		return "", &complaint{"is not a Postgres URL", "write postgres://user:password@host:5432/database?sslmode=verify-full"}
	}
	return text, nil
}

func checkProbes(text string, _ []string) (string, *complaint) {
	if _, err := sinch.ParseProbes(text); err != nil {
		return "", &complaint{"is not a list of probes: " + err.Error(), "write names, comma-separated, or NAME=URL"}
	}
	return text, nil
}

func checkRate(text string, _ []string) (string, *complaint) {
	r, err := strconv.ParseFloat(text, 64)
	if err != nil || !(r > 0) || math.IsInf(r, 0) { // !(r > 0) is true of NaN too
		return "", &complaint{"is not a rate above 0", "write requests per second, for example 20 or 0.5"}
	}
	return text, nil
}

// checkSigner wants kv or transit:<mount>/<key>.
func checkSigner(text string, _ []string) (string, *complaint) {
	path, transit := strings.CutPrefix(text, "transit:")
	_, bad := checkVaultPath(path, nil)
	if text != "kv" && (!transit || bad != nil || !strings.Contains(path, "/")) {
		return "", &complaint{"is not a signer", "write kv, or transit:<mount>/<key>"}
	}
	return text, nil
}

// checkURL wants an absolute http or https URL without a password in it.
func checkURL(text string, _ []string) (string, *complaint) {
	right := "write an absolute URL, for example https://host.example"
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Fragment != "" {
		return "", &complaint{"is not an http or https URL", right}
	}
	if u.User != nil {
		return "", &complaint{"has a user name in it", "write the URL without user and password"}
	}
	return text, nil
}

// checkVaultPath wants path components without slashes at either end.
func checkVaultPath(text string, _ []string) (string, *complaint) {
	for part := range strings.SplitSeq(text, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, " \t*+?#%") {
			return "", &complaint{"is not a Vault path", "write components joined by single slashes, none at the ends, for example team/sinch"}
		}
	}
	return text, nil
}

func checkVerifierKeys(text string, _ []string) (string, *complaint) {
	for key := range strings.SplitSeq(text, ",") {
		if _, err := note.NewVerifier(strings.TrimSpace(key)); err != nil {
			what := fmt.Sprintf("holds %q, which is no verifier key", audit.ShownKey(key))
			if strings.Contains(key, "PRIVATE") {
				what = "holds a private key, which belongs in Vault alone"
			}
			return "", &complaint{what, "write what rotator audit pubkey prints"}
		}
	}
	return text, nil
}
