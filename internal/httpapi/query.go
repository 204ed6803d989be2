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

// verbose is the one parameter that needs no value.
const verbose = "verbose"

// knownParams lists what the query of a route may hold. A route that is not here
// takes none.
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

// checkQuery refuses a query that cannot be read whole, and a parameter that the
// route does not know, that comes twice or that has no value: whoever sends one means
// something by it, and would not get it.
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

// boolParam reads true or false from a query; false if it is not there.
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

// revisionParam reads a revision from a query; 0 if it is not there.
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

// parseNumber reads a whole number, written as a program writes it: without a plus, zeros
// before it or anything around it.
func parseNumber(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}
