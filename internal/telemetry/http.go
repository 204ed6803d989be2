package telemetry

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Handler returns the API with its requests counted and traced.
func (t *Telemetry) Handler(api http.Handler) http.Handler {
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.serve(api, w, r) })
	if t.spans == nil {
		return counted
	}
	return otelhttp.NewHandler(counted, "", append(t.spans.options(), otelhttp.WithFilter(traced))...)
}

// traced leaves out what is asked all the time, and what goes on for ever.
func traced(r *http.Request) bool {
	switch r.URL.Path {
	case wire.PathLive, wire.PathReady, wire.PathMetrics, wire.PathWatch:
		return false
	default:
		return !strings.HasPrefix(r.URL.Path, wire.PathRole)
	}
}

// serve answers a request and counts it. The API leaves the pattern of its route in
// the request: that, and not the path, is told.
func (t *Telemetry) serve(api http.Handler, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	a := &answer{ResponseWriter: w}
	stream := r.URL.Path == wire.PathWatch
	if stream {
		t.counted.streams.Inc()
		defer t.counted.streams.Dec()
	}
	defer func() {
		handler, method := route(r), knownMethod(r.Method)
		t.counted.requests.WithLabelValues(handler, method, a.code()).Inc()
		if !stream {
			t.counted.durations.WithLabelValues(handler, method).Observe(time.Since(began).Seconds())
		}
	}()
	api.ServeHTTP(a, r)
}

// noRoute stands for the route of what the API has none for.
const noRoute = "none"

// route is the pattern of the path that a request took.
func route(r *http.Request) string {
	_, path, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		return noRoute
	}
	return path
}

func knownMethod(method string) string {
	known := []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete}
	if slices.Contains(known, method) {
		return method
	}
	return "other"
}

// answer is a [http.ResponseWriter] that remembers the status.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter]. What is only informational is not
// the answer yet.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) code() string {
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

// Transport returns what forwards requests with those counted, and the trace they
// belong to passed on.
func (t *Telemetry) Transport(direct http.RoundTripper) http.RoundTripper {
	if t.spans != nil {
		direct = otelhttp.NewTransport(direct, t.spans.options()...)
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
	f.t.counted.forwarded.WithLabelValues(result).Inc()
	return resp, err
}
