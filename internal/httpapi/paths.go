package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file checks the path of a request before it is routed.

// checkPath refuses paths that routing would otherwise clean, decode or redirect
// before anybody has looked at the names in them.
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
		return badRequest("path %.100q: begin it with / and use no empty, . or .. parts", escaped)
	}
	return nil
}

// unescapeUnreserved is an escaped path without the escapes that it does not need: routing takes
// /%761/node for /v1/node.
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

// parseName reads the escaped form of type/id.
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

// checkNode refuses the escaped form of what cannot be the id of a node.
func checkNode(escaped string) error {
	id, err := url.PathUnescape(escaped)
	if err == nil {
		err = coordinator.CheckNode(id)
	}
	if err != nil {
		return badRequest("%w", err)
	}
	return nil
}

// nameFromPath is the name in a path that checkPath has let pass.
func nameFromPath(r *http.Request) rebind.Name {
	return rebind.Name(r.PathValue("type") + "/" + r.PathValue("id"))
}
