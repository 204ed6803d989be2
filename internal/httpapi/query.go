// This file checks and reads query parameters.

package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// verbose is the only parameter that may have no value.
const verbose = "verbose"

// knownParams lists the query parameters of a route. Other routes take none.
func knownParams(pattern string) []string {
	switch pattern {
	case "GET " + wire.PathMementos:
		return []string{"type", "prefix", "limit", "after", "values", "min_revision", "max_staleness", "consistent", "revision"}
	case "GET " + wire.PathMementos + "/{type}/{id}":
		return []string{"min_revision", "max_staleness", "consistent", "revision"}
	case "GET " + wire.PathWatch:
		return []string{"from_revision", "type"}
	case "POST " + wire.PathImport:
		return []string{"dry_run", "replace"}
	case "GET " + wire.PathLive, "GET " + wire.PathReady, "GET " + wire.PathRole + "{role}":
		return []string{verbose}
	default:
		return nil
	}
}

// checkQuery refuses a query that cannot be parsed, and a parameter that is unknown, duplicate
// or empty. The client expects an effect that it would not get.
func checkQuery(r *http.Request, params []string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("query %.100q: %w", r.URL.RawQuery, err)
	}
	for key, values := range query {
		switch {
		case len(params) == 0:
			return badRequest("unknown parameter %.50q: none is taken here", key)
		case !slices.Contains(params, key):
			return badRequest("unknown parameter %.50q: use %s", key, strings.Join(params, ", "))
		case len(values) > 1:
			return badRequest("parameter %s is given %d times: give it once", key, len(values))
		case values[0] == "" && key != verbose:
			return badRequest("parameter %s has no value: give it one, or leave it out", key)
		}
	}
	return nil
}

// boolParam reads a boolean parameter; a missing one is false.
func boolParam(v url.Values, key string) (bool, error) {
	switch given := v.Get(key); {
	case !v.Has(key), given == "false":
		return false, nil
	case given == "true":
		return true, nil
	default:
		return false, badRequest("%s %.50q: use true or false", key, given)
	}
}

// revisionParam reads a revision; a missing one is 0.
func revisionParam(v url.Values, key string, smallest int64) (rebind.Revision, error) {
	if !v.Has(key) {
		return 0, nil
	}
	rev, ok := parseNumber(v.Get(key))
	if !ok || rev < smallest {
		return 0, badRequest("%s %.50q is not a revision", key, v.Get(key))
	}
	return rebind.Revision(rev), nil
}

// parseNumber parses a decimal integer in canonical form: no plus sign, no leading zeros, no
// spaces.
func parseNumber(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}
