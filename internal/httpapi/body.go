package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// maxControlBody bounds the JSON bodies of an operator's requests.
	maxControlBody = 64 << 10
	// maxBatchBody bounds the body of a batch: payloads that fit the store's
	// request limit, as base64, with everything around them.
	maxBatchBody = 4 << 20
)

// readBody reads a body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%w: the body has more than %d bytes", rebind.ErrTooLarge, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read body: %w", rebind.ErrInvalid, err)
	}
	return body, nil
}

// decodeBody reads a JSON body into v: one value, of known fields only.
func decodeBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	if given := r.Header.Get("Content-Type"); given != "" && !isJSON(given) {
		return fmt.Errorf("%w: content type %.100q: send application/json", wire.ErrMediaType, given)
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: body is not the JSON that is wanted here: %w", rebind.ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: body has more than one JSON value", rebind.ErrInvalid)
	}
	return nil
}

// isJSON reports whether a media type promises JSON.
func isJSON(contentType string) bool {
	base, _, err := mime.ParseMediaType(contentType)
	return err == nil && (base == "application/json" || strings.HasSuffix(base, "+json"))
}

// checkJSON refuses a payload that is not the JSON it says it is.
func checkJSON(contentType string, payload []byte) error {
	if base, _, err := mime.ParseMediaType(contentType); err == nil && base == "application/json" && !json.Valid(payload) {
		return fmt.Errorf("%w: the payload is sent as application/json and is not JSON", rebind.ErrInvalid)
	}
	return nil
}
