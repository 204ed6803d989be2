// This file reads request bodies within limits of size and time.

package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// maxControlBody limits the JSON bodies of operators' requests.
	maxControlBody = 64 << 10
	// maxBatchBody limits the body of a batch: payloads that fit the store's request limit, in
	// base64, and the JSON around them.
	maxBatchBody = 4 << 20
	// bodyTimeout is how long a client may take to send a body. It allows for the largest body
	// over a slow line.
	bodyTimeout = 30 * time.Second
)

// setBodyDeadline sets the deadline for the request's body. If the body is late the connection
// is closed, even if no handler reads it: the server itself reads what is left of a body before
// it sends the answer.
func setBodyDeadline(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// This fails only for a test's recorder.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}

// readBody reads a body of at most limit bytes. A body that declares more is refused before it
// is read and before "100 Continue" is sent.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // do not wait for the rest
		return nil, bodyTooLarge("the body has %d bytes, the limit is %d bytes", r.ContentLength, limit)
	}
	body, err := deadlineWriterOf(w).readAll(r, limit)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		w.Header().Set("Connection", "close")
		return nil, bodyTooLarge("the body has more than %d bytes", limit)
	case errors.Is(err, wire.ErrBusy):
		w.Header().Set("Connection", "close")
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, badRequest("the body did not arrive within %s", bodyTimeout)
	case err != nil:
		return nil, badRequest("read body: %w", err)
	}
	// Without a read deadline the server notices while the answer is prepared that the client
	// has gone.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

// decodeBody reads a JSON body into v. The body must be one value with known fields only.
func decodeBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := readJSON(w, r, limit)
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

// decodeOptionalBody is decodeBody for a body that may be missing.
func decodeOptionalBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := readJSON(w, r, limit)
	if err != nil || len(body) == 0 {
		return err
	}
	return decodeJSON(body, v)
}

// readJSON reads a body whose media type, if it has one, is JSON.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if given := r.Header.Get("Content-Type"); given != "" && !isJSON(given) {
		return nil, fmt.Errorf("%w: content type %.100q: send application/json", wire.ErrMediaType, given)
	}
	return readBody(w, r, limit)
}

// isJSON reports whether a media type is a JSON type.
func isJSON(contentType string) bool {
	base, _, err := mime.ParseMediaType(contentType)
	return err == nil && (base == "application/json" || strings.HasSuffix(base, "+json"))
}

// checkJSON refuses a payload that is sent as JSON and is not valid JSON.
func checkJSON(contentType string, payload []byte) error {
	base, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil || base != "application/json":
		return nil
	case !utf8.Valid(payload):
		return fmt.Errorf("%w: the payload is sent as application/json and is not UTF-8", rebind.ErrInvalid)
	case !json.Valid(payload):
		return fmt.Errorf("%w: the payload is sent as application/json and is not JSON", rebind.ErrInvalid)
	}
	return nil
}
