// This file tests streams whose token is revoked.

package httpapi_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// revocableToken is one token that can be revoked.
type revocableToken struct{ gone atomic.Bool }

// Holder implements [httpapi.Tokens].
func (r *revocableToken) Holder(token string) (credentials.TokenOwner, bool) {
	if token != "secret" || r.gone.Load() {
		return credentials.TokenOwner{}, false
	}
	return credentials.TokenOwner{Name: "vera", Role: credentials.Viewer}, true
}

// slowRecorder is a client that reads one part each second.
type slowRecorder struct{ *httptest.ResponseRecorder }

// Write implements [io.Writer].
func (s slowRecorder) Write(b []byte) (int, error) {
	<-time.After(time.Second)
	return s.ResponseRecorder.Write(b)
}

// Promise: a stream ends within 10 s after its token was revoked, whether or not there is
// something to send.
func TestStreams_EndWithTheirToken(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		busy bool
	}{
		"a watch of nothing":  {wire.PathWatch, false},
		"a watch":             {wire.PathWatch, true},
		"a watch of one type": {wire.PathWatch + "?type=policy", true},
		"an export to be had": {wire.PathExport, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plane) {
				token := new(revocableToken)
				p.secure = func(_ string, cfg *httpapi.Config) *tls.Config {
					cfg.Access.Tokens = token
					return nil
				}
				a := p.lead("a")
				if c.path == wire.PathExport {
					for i := range 200 {
						p.write(rebind.Name(fmt.Sprintf("entity/%d", i)), strings.Repeat("x", 16<<10))
					}
				}
				<-time.After(2 * time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				ended := make(chan struct{})
				rec := httptest.NewRecorder()
				var streaming sync.WaitGroup
				streaming.Go(func() {
					defer close(ended)
					req := httptest.NewRequestWithContext(ctx, http.MethodGet, c.path, nil)
					req.Header.Set("Authorization", "Bearer secret")
					a.api.ServeHTTP(slowRecorder{rec}, req)
				})
				for range 13 {
					if c.busy {
						p.write("entity/x", "1")
					}
					<-time.After(time.Second)
				}
				select {
				case <-ended:
					t.Fatalf("it has ended before: %d", rec.Code)
				default:
				}
				token.gone.Store(true)
				began := time.Now()
				for waiting := true; waiting && time.Since(began) < time.Minute; {
					if c.busy {
						p.write("entity/x", "1")
					}
					select {
					case <-ended:
						waiting = false
					case <-time.After(time.Second):
					}
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("it ends after %s", took)
				}
				cancel()
				streaming.Wait()
				if c.path != wire.PathExport && !strings.Contains(rec.Body.String(), "not know the token") {
					t.Errorf("it does not say why: %s", rec.Body.String())
				}
			})
		})
	}
}
