// Wraps a store for the node: counts and traces what the node does there.

package telemetry

import (
	"context"
	"errors"
	"path"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Values of the label result.
const (
	resultOK      = "ok"
	resultRefused = "refused"
	resultUnknown = "unknown"
	resultFailed  = "failed"
)

// Phases of a promotion.
const (
	phaseState    = "state"
	phaseAnnounce = "announce"
)

// Store wraps s for the node: what the node does there is counted, and its promotions are
// traced.
func (t *Telemetry) Store(s driver.Store) driver.Store {
	t.export(&t.store.group)
	t.ttl = s.TTL
	return store{Store: s, t: t}
}

type store struct {
	driver.Store
	t *Telemetry
}

// Follow counts the terms that begin.
func (s store) Follow(ctx context.Context, see func(driver.Plane)) error {
	return s.Store.Follow(ctx, func(p driver.Plane) {
		s.t.sawTerm(p.Holder.Term)
		see(p)
	})
}

// FollowNear counts the terms that begin.
func (s store) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	return s.Store.FollowNear(ctx, node, func(p driver.NearPlane) {
		s.t.sawTerm(p.Holder.Term)
		see(p)
	})
}

// sawTerm counts a term if it is another one than the last. The node follows its plane
// once at a time, so this has one caller at a time.
func (t *Telemetry) sawTerm(term int64) {
	if t.last != 0 && term != t.last {
		t.store.changes.Inc()
	}
	t.last = term
}

// Load counts a load of all mementos.
func (s store) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	began := time.Now()
	at, err := s.Store.Load(ctx, page)
	result := resultOK
	switch {
	case err == nil:
	case errors.Is(err, replica.ErrUnusable):
		result = resultRefused
	default:
		result = resultFailed
	}
	s.t.store.load.WithLabelValues(result).Observe(time.Since(began).Seconds())
	return at, err
}

// Join returns a presence whose terms are observed.
func (s store) Join(ctx context.Context, r driver.Record) (driver.Presence, error) {
	m, err := s.Store.Join(ctx, r)
	if err != nil {
		return nil, err
	}
	return presence{Presence: m, t: s.t}, nil
}

// JoinExclusive returns a term whose writes are observed. There is no promotion to
// measure: a disabled node is not elected, and announces nothing.
func (s store) JoinExclusive(ctx context.Context, r driver.Record, planeID string) (driver.Presence, driver.ExclusiveTerm, error) {
	m, won, err := s.Store.JoinExclusive(ctx, r, planeID)
	if err != nil {
		return nil, nil, err
	}
	return presence{Presence: m, t: s.t}, exclusiveTerm{ExclusiveTerm: won, t: s.t}, nil
}

type presence struct {
	driver.Presence
	t *Telemetry
}

// Stand returns a candidacy whose term is observed.
func (m presence) Stand(ctx context.Context) (driver.Candidacy, error) {
	c, err := m.Presence.Stand(ctx)
	if err != nil {
		return nil, err
	}
	return standing{Candidacy: c, t: m.t}, nil
}

type standing struct {
	driver.Candidacy
	t *Telemetry
}

// Begin returns a term that is observed.
func (c standing) Begin(ctx context.Context, s driver.Situation, conditions driver.Conditions) (driver.Term, error) {
	won, err := c.Candidacy.Begin(ctx, s, conditions)
	if err != nil {
		return nil, err
	}
	return c.t.elected(won), nil
}

// Accept returns a term that is observed.
func (c standing) Accept() (driver.Term, error) {
	won, err := c.Candidacy.Accept()
	if err != nil {
		return nil, err
	}
	return c.t.elected(won), nil
}

// term observes one leadership, from the election on.
type term struct {
	driver.Term
	t       *Telemetry
	elected time.Time
	span    trace.Span // the span of the promotion
}

// elected begins to observe a term. The span of the promotion ends with the announcement,
// or with a term that ended before it.
func (t *Telemetry) elected(won driver.Term) driver.Term {
	_, span := t.tracer.Start(context.Background(), "promotion", trace.WithAttributes(attribute.Int64("coordinator.term", won.Number())))
	if span.IsRecording() {
		context.AfterFunc(won.Context(), func() { end(span, context.Cause(won.Context())) })
	}
	return &term{Term: won, t: t, elected: time.Now(), span: span}
}

// Announce counts a completed promotion.
func (m *term) Announce(ctx context.Context, r driver.Record, h driver.HistoryEntry) error {
	if err := m.Term.Announce(ctx, r, h); err != nil {
		m.span.AddEvent("not announced", trace.WithAttributes(attribute.String("error", err.Error())))
		return err
	}
	loading := milliseconds(h.RebindMS)
	m.t.store.rebind.WithLabelValues(phaseState).Observe(loading.Seconds())
	m.t.store.rebind.WithLabelValues(phaseAnnounce).Observe(max(0, time.Since(m.elected)-loading).Seconds())
	m.span.SetAttributes(
		attribute.String("coordinator.reason", string(h.Reason)), attribute.String("coordinator.from", h.From),
		attribute.Int64("coordinator.rebind_ms", h.RebindMS), attribute.Int("coordinator.mementos", h.Mementos),
	)
	if h.GapMS != nil {
		m.t.store.gap.WithLabelValues(string(h.Reason)).Observe(milliseconds(*h.GapMS).Seconds())
		m.span.SetAttributes(attribute.Int64("coordinator.gap_ms", *h.GapMS))
	}
	end(m.span, nil)
	return nil
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Commit counts one transaction of mementos.
func (m *term) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	return m.t.commit(ctx, m.Term, writes)
}

// exclusiveTerm observes the term of a disabled node.
type exclusiveTerm struct {
	driver.ExclusiveTerm
	t *Telemetry
}

// Commit counts one transaction of mementos.
func (m exclusiveTerm) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	return m.t.commit(ctx, m.ExclusiveTerm, writes)
}

// commit counts one transaction of mementos.
func (t *Telemetry) commit(ctx context.Context, w driver.Writer, writes []driver.Write) (rebind.Revision, error) {
	began := time.Now()
	at, err := w.Commit(ctx, writes)
	t.store.transaction.Observe(time.Since(began).Seconds())
	t.store.batch.Observe(float64(deltas(writes)))
	if errors.Is(err, driver.ErrFenced) {
		t.store.fenced.Inc()
	}
	return at, err
}

// deltas returns how many deltas the writes are of: their ids differ.
func deltas(writes []driver.Write) int {
	n := 1
	for i := 1; i < len(writes); i++ {
		if writes[i].ID != writes[i-1].ID {
			n++
		}
	}
	return n
}

// DialOptions count each request to etcd.
func (t *Telemetry) DialOptions() []grpc.DialOption {
	t.export(&t.etcd.group)
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(t.request)}
}

func (t *Telemetry) request(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	began := time.Now()
	err := invoke(ctx, method, req, reply, cc, opts...)
	t.etcd.requests.WithLabelValues(path.Base(method), grpcstatus.Code(err).String()).Observe(time.Since(began).Seconds())
	return err
}
