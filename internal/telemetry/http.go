// Counts and traces requests to the API, and requests forwarded to the master.

package telemetry

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Handler returns the API handler, with requests counted and traced.
func (t *Telemetry) Handler(api http.Handler) http.Handler {
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.serve(api, w, r) })
	if t.traces == nil {
		return counted
	}
	return t.traces.Handler(counted)
}

// serve answers a request and counts it. The API stores the pattern of the route in the
// request; the metrics use that instead of the path.
func (t *Telemetry) serve(api http.Handler, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	a := &statusRecorder{ResponseWriter: w}
	stream := r.URL.Path == wire.PathWatch
	if stream {
		t.api.streams.Inc()
		defer t.api.streams.Dec()
	}
	defer func() {
		handler, method := route(r), KnownMethod(r.Method)
		t.api.requests.WithLabelValues(handler, method, a.code()).Inc()
		if !stream {
			t.api.durations.WithLabelValues(handler, method).Observe(time.Since(began).Seconds())
		}
	}()
	api.ServeHTTP(a, r)
}

// noRoute is the label for requests that match no route.
const noRoute = "none"

// route is the pattern of the route that a request took.
func route(r *http.Request) string {
	_, path, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		return noRoute
	}
	return path
}

// KnownMethod returns the label for a method.
func KnownMethod(method string) string {
	known := []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete}
	if slices.Contains(known, method) {
		return method
	}
	return "other"
}

// statusRecorder is a [http.ResponseWriter] that remembers the status.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter]. An informational status is not the answer
// yet.
func (a *statusRecorder) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap gives [http.ResponseController] access to the wrapped writer.
func (a *statusRecorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *statusRecorder) code() string {
	if a.status == 0 {
		return strconv.Itoa(http.StatusOK)
	}
	return strconv.Itoa(a.status)
}

// Results of forwarding a request.
const (
	forwardAnswered = "answered"
	forwardDeclined = "declined"
	forwardFailed   = "failed"
)

// Transport returns a transport for forwarded requests that counts them and passes the
// trace on.
func (t *Telemetry) Transport(direct http.RoundTripper) http.RoundTripper {
	if t.traces != nil {
		direct = t.traces.Transport(direct)
	}
	return transport{direct: direct, t: t}
}

type transport struct {
	direct http.RoundTripper
	t      *Telemetry
}

// RoundTrip implements [http.RoundTripper].
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.direct.RoundTrip(r)
	result := forwardAnswered
	switch {
	case err != nil:
		result = forwardFailed
	case resp.StatusCode == http.StatusMisdirectedRequest, resp.StatusCode == http.StatusServiceUnavailable:
		result = forwardDeclined
	}
	f.t.api.forwarded.WithLabelValues(result).Inc()
	return resp, err
}
