package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// parameters lists what the query of a route may hold. A route that is not here
// takes none.
func parameters(pattern string) []string {
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
		return []string{"verbose"}
	default:
		return nil
	}
}

// checkKey refuses an Idempotency-Key where nothing would come of it.
func checkKey(r *http.Request, pattern string) error {
	if r.Header.Get(wire.HeaderKey) != "" && pattern != "PUT "+wire.PathMementos+"/{type}/{id}" {
		return fmt.Errorf("%w: %s is taken by the PUT of a memento only", rebind.ErrInvalid, wire.HeaderKey)
	}
	return nil
}

// checkQuery refuses a query that cannot be read whole, and a parameter that the
// route does not know or that comes twice: whoever sends one means something by
// it, and would not get it.
func checkQuery(r *http.Request, known []string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: query %.100q: %w", rebind.ErrInvalid, r.URL.RawQuery, err)
	}
	for key, values := range query {
		switch {
		case len(known) == 0:
			return fmt.Errorf("%w: unknown parameter %.50q: none is taken here", rebind.ErrInvalid, key)
		case !slices.Contains(known, key):
			return fmt.Errorf("%w: unknown parameter %.50q: use %s", rebind.ErrInvalid, key, strings.Join(known, ", "))
		case len(values) > 1:
			return fmt.Errorf("%w: parameter %s is given %d times", rebind.ErrInvalid, key, len(values))
		}
	}
	return nil
}
