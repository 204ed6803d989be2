// This file checks the path of a request before it is routed.

package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// checkPath refuses paths that the mux would clean, decode or redirect, so that no name is
// changed before it is checked.
func checkPath(u *url.URL) error {
	escaped := unescapeUnreserved(u.EscapedPath())
	if rest, ok := strings.CutPrefix(escaped, wire.PathMementos+"/"); ok && escaped != wire.PathBatch {
		_, err := parseName(rest)
		return err
	}
	if rest, ok := strings.CutPrefix(escaped, wire.PathLeft+"/"); ok {
		return checkNode(rest)
	}
	if path.Clean("/"+escaped) != escaped && escaped != "/" {
		return badRequest("path %.100q: start it with / and use no empty, . or .. parts", escaped)
	}
	return nil
}

// unescapeUnreserved removes the escapes that a path does not need: the mux takes /%761/node
// for /v1/node.
func unescapeUnreserved(escaped string) string {
	if !strings.Contains(escaped, "%") {
		return escaped
	}
	parts := strings.Split(escaped, "/")
	for i, part := range parts {
		if text, err := url.PathUnescape(part); err == nil {
			parts[i] = url.PathEscape(text)
		}
	}
	return strings.Join(parts, "/")
}

// parseName parses an escaped type/id.
func parseName(escaped string) (rebind.Name, error) {
	typ, id, ok := strings.Cut(escaped, "/")
	if !ok {
		return "", badRequest("memento name %.100q: write it as type/id", escaped)
	}
	typ, errType := url.PathUnescape(typ)
	id, errID := url.PathUnescape(id)
	if err := errors.Join(errType, errID); err != nil {
		return "", badRequest("memento name %.100q: %w", escaped, err)
	}
	return rebind.NewName(typ, id)
}

// checkType refuses a memento type that is not valid.
func checkType(typ string) error {
	_, err := rebind.NewName(typ, "any")
	return err
}

// checkNode refuses an escaped node id that is not valid.
func checkNode(escaped string) error {
	id, err := url.PathUnescape(escaped)
	if err == nil {
		err = driver.CheckNode(id)
	}
	if err != nil {
		return badRequest("%w", err)
	}
	return nil
}

// nameFromPath returns the name in a path that checkPath has accepted.
func nameFromPath(r *http.Request) rebind.Name {
	return rebind.Name(r.PathValue("type") + "/" + r.PathValue("id"))
}
