// This file tests query parameters.

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// Every route refuses what it does not understand, before it does anything.
func TestQuery_IsReadStrictlyByEveryRoute(t *testing.T) {
	a := newPlane(t).lead("a")
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	paths := strings.NewReplacer("{type}/{id}", "entity/x", "{role}", "master")
	for _, pattern := range a.api.Patterns() {
		method, path, _ := strings.Cut(paths.Replace(pattern), " ")
		for _, query := range []string{"foo=1", "foo", "Verbose", "%zz", "a;b", "verbose;min_revision=1", "consistent=true&foo=%"} {
			t.Run(pattern+"?"+query, func(t *testing.T) {
				a.send(t, method, path+"?"+query, "{}").refused(http.StatusBadRequest, wire.KindBadRequest)
			})
		}
	}
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
}

func TestQuery_OneParameterOnce(t *testing.T) {
	a := newPlane(t).lead("a")
	a.get(t, wire.PathMementos+"?limit=1&limit=2").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.get(t, wire.PathReady+"?verbose&verbose=1").refused(http.StatusBadRequest, wire.KindBadRequest)
	a.get(t, wire.PathReady+"?").want(http.StatusOK)
}

// Every route takes exactly the parameters that the document lists for it.
func TestQuery_ParametersAreTheDocuments(t *testing.T) {
	for path, item := range readTheContract(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented := 0
			for _, p := range op.Parameters {
				if p.Value.In != "query" {
					continue
				}
				documented++
				if !strings.Contains(strings.Join(httpapi.Parameters(method+" "+path), " "), p.Value.Name) {
					t.Errorf("%s %s does not take %s", method, path, p.Value.Name)
				}
			}
			if taken := httpapi.Parameters(method + " " + path); len(taken) != documented {
				t.Errorf("%s %s takes %v, the document has %d parameters", method, path, taken, documented)
			}
			if bad := op.Responses.Status(http.StatusBadRequest); bad == nil {
				t.Errorf("%s %s: 400 is not documented", method, path)
			}
		}
	}
}
