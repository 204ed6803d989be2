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
	// maxControlBody bounds the JSON bodies of an operator's requests.
	maxControlBody = 64 << 10
	// maxBatchBody bounds the body of a batch: payloads that fit the store's
	// request limit, as base64, with everything around them.
	maxBatchBody = 4 << 20
	// bodyTimeout is how long a body may take to come: the largest over a slow line.
	bodyTimeout = 30 * time.Second
)

// setBodyDeadline gives the request's body its time. One that does not end in it is
// cut off with its connection, whether or not anybody reads it: the server itself
// reads what a handler has left before it answers.
func setBodyDeadline(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Only a recorder in a test has no connection to set this on.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}

// readBody reads a body of at most limit bytes. A body that declares more is
// refused before any of it is read, or asked for by "100 Continue".
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // what is still to come is not waited for
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
		return nil, badRequest("the body did not come within %s", bodyTimeout)
	case err != nil:
		return nil, badRequest("read body: %w", err)
	}
	// From here on the connection is watched for the client's leaving, for as long
	// as the answer takes.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

// decodeBody reads a JSON body into v: one value, of known fields only.
func decodeBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := readJSON(w, r, limit)
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

// decodeOptionalBody is decodeBody for a body that may be left out.
func decodeOptionalBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := readJSON(w, r, limit)
	if err != nil || len(body) == 0 {
		return err
	}
	return decodeJSON(body, v)
}

// readJSON reads a body that is sent as JSON.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if given := r.Header.Get("Content-Type"); given != "" && !isJSON(given) {
		return nil, fmt.Errorf("%w: content type %.100q: send application/json", wire.ErrMediaType, given)
	}
	return readBody(w, r, limit)
}

// isJSON reports whether a media type promises JSON.
func isJSON(contentType string) bool {
	base, _, err := mime.ParseMediaType(contentType)
	return err == nil && (base == "application/json" || strings.HasSuffix(base, "+json"))
}

// checkJSON refuses a payload that is not the JSON it says it is.
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
