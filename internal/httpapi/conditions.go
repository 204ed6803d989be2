// This file reads the preconditions of writes and reads: If-Match and If-None-Match.

package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/coordinator-ha/coordinator/rebind"
)

// writeCondition reads the If-Match or If-None-Match of a write.
func writeCondition(r *http.Request) (rebind.Revision, error) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match != "" && none != "":
		return 0, badRequest("send If-Match or If-None-Match, not both")
	case none == "*":
		return rebind.Absent, nil
	case none != "":
		return 0, badRequest("If-None-Match %.50q: a write takes only *", none)
	case match == "*":
		return rebind.Present, nil
	case match == "":
		return 0, nil
	}
	digits, ok := strings.CutPrefix(match, `"`)
	digits, ok2 := strings.CutSuffix(digits, `"`)
	rev, ok3 := parseNumber(digits)
	if !ok || !ok2 || !ok3 || rev < 1 {
		return 0, badRequest("If-Match %.50q: use one ETag as the node sent it, such as \"123\"", match)
	}
	return rebind.Revision(rev), nil
}

// readConditions are the preconditions of a read: the ETags that each header names, or nil if
// the header is missing.
type readConditions struct{ match, none map[string]bool }

func parseReadConditions(r *http.Request) (c readConditions, err error) {
	for header, to := range map[string]*map[string]bool{"If-Match": &c.match, "If-None-Match": &c.none} {
		given := r.Header.Get(header)
		if given == "" {
			continue
		}
		if *to, err = parseETags(given); err != nil {
			return c, badRequest("%s: %w", header, err)
		}
	}
	return c, nil
}

// check compares the conditions with the memento. It returns true if the client has this
// version already.
func (c *readConditions) check(m *rebind.Memento) (same bool, err error) {
	tag := etag(m.Modified)
	if c.match != nil && !c.match["*"] && !c.match[tag] {
		return false, fmt.Errorf("%w: it has revision %d", rebind.ErrConflict, m.Modified)
	}
	return c.none["*"] || c.none[tag] || c.none["W/"+tag], nil // a cache may have made the ETag weak
}

// parseETags reads a list of ETags, or *.
func parseETags(list string) (map[string]bool, error) {
	tags := make(map[string]bool)
	if list == "*" {
		tags[list] = true
		return tags, nil
	}
	for rest, more := list, true; more; {
		rest = strings.TrimLeft(rest, " \t")
		opaque, quoted := strings.CutPrefix(strings.TrimPrefix(rest, "W/"), `"`)
		end := strings.IndexByte(opaque, '"')
		if !quoted || end < 0 {
			return nil, fmt.Errorf("%.50q: use ETags as the node sent them, such as \"123\", or *", list)
		}
		tags[rest[:len(rest)-len(opaque)+end+1]] = true
		var between string
		between, rest, more = strings.Cut(opaque[end+1:], ",")
		if strings.Trim(between, " \t") != "" {
			return nil, fmt.Errorf("%.50q: put a comma between ETags", list)
		}
	}
	return tags, nil
}
