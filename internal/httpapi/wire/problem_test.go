// This file tests the table of statuses.

package wire_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// sentinel is an error and how it is answered.
type sentinel struct {
	err    error
	status int
	kind   string
}

// sentinels has every error that the packages below the API export, by package and name.
var sentinels = map[string]sentinel{
	"rebind.ErrInvalid":      {rebind.ErrInvalid, http.StatusBadRequest, wire.KindBadRequest},
	"driver.ErrTooLarge":     {driver.ErrTooLarge, http.StatusRequestEntityTooLarge, wire.KindTooLarge},
	"rebind.ErrNotFound":     {rebind.ErrNotFound, http.StatusNotFound, wire.KindNotFound},
	"rebind.ErrQuarantined":  {rebind.ErrQuarantined, http.StatusUnprocessableEntity, wire.KindQuarantined},
	"rebind.ErrConflict":     {rebind.ErrConflict, http.StatusPreconditionFailed, wire.KindPrecondition},
	"driver.ErrFenced":       {driver.ErrFenced, http.StatusServiceUnavailable, wire.KindFenced},
	"driver.ErrStoreFull":    {driver.ErrStoreFull, http.StatusInsufficientStorage, wire.KindStoreFull},
	"rebind.ErrUnavailable":  {rebind.ErrUnavailable, http.StatusServiceUnavailable, wire.KindStore},
	"driver.ErrDenied":       {driver.ErrDenied, http.StatusServiceUnavailable, wire.KindStore},
	"driver.ErrStoreCorrupt": {driver.ErrStoreCorrupt, http.StatusServiceUnavailable, wire.KindStore},
	"rebind.ErrUnknown":      {rebind.ErrUnknown, http.StatusGatewayTimeout, wire.KindUnknown},

	"coordinator.ErrMasterExists": {coordinator.ErrMasterExists, http.StatusConflict, wire.KindRefused},
	"driver.ErrRefused":           {driver.ErrRefused, http.StatusConflict, wire.KindRefused},
	"coordinator.ErrNoMaster":     {coordinator.ErrNoMaster, http.StatusServiceUnavailable, wire.KindNoMaster},
	"coordinator.ErrNotMaster":    {coordinator.ErrNotMaster, http.StatusServiceUnavailable, wire.KindNoMaster},
	"coordinator.ErrNotReadable":  {coordinator.ErrNotReadable, http.StatusServiceUnavailable, wire.KindNotReady},
	"coordinator.ErrStopped":      {coordinator.ErrStopped, http.StatusServiceUnavailable, wire.KindNotReady},
	"driver.ErrLeaseLost":         {driver.ErrLeaseLost, http.StatusServiceUnavailable, wire.KindStore},
	"driver.ErrHung":              {driver.ErrHung, http.StatusServiceUnavailable, wire.KindStore},

	"driver.ErrNoNode":       {driver.ErrNoNode, http.StatusNotFound, wire.KindNotFound},
	"driver.ErrForeignPlane": {driver.ErrForeignPlane, http.StatusConflict, wire.KindRefused},
	"driver.ErrRestored":     {driver.ErrRestored, http.StatusServiceUnavailable, wire.KindStore},

	"driver.ErrCompacted": {driver.ErrCompacted, http.StatusGone, wire.KindGone},
	"driver.ErrAhead":     {driver.ErrAhead, http.StatusBadRequest, wire.KindBadRequest},

	"wire.ErrBadRequest":   {wire.ErrBadRequest, http.StatusBadRequest, wire.KindBadRequest},
	"wire.ErrBodyTooLarge": {wire.ErrBodyTooLarge, http.StatusRequestEntityTooLarge, wire.KindTooLarge},

	"wire.ErrNoIdentity": {wire.ErrNoIdentity, http.StatusUnauthorized, wire.KindNoIdentity},
	"wire.ErrForbidden":  {wire.ErrForbidden, http.StatusForbidden, wire.KindForbidden},
	"wire.ErrBusy":       {wire.ErrBusy, http.StatusServiceUnavailable, wire.KindBusy},
	"wire.ErrDisk":       {wire.ErrDisk, http.StatusInsufficientStorage, wire.KindDisk},

	"wire.ErrNotBegun":  {wire.ErrNotBegun, http.StatusServiceUnavailable, wire.KindNotBegun},
	"wire.ErrNoAddress": {wire.ErrNoAddress, http.StatusServiceUnavailable, wire.KindNoMaster},
	"wire.ErrGone":      {wire.ErrGone, http.StatusGone, wire.KindGone},
	"wire.ErrMediaType": {wire.ErrMediaType, http.StatusUnsupportedMediaType, wire.KindMediaType},
	"wire.ErrBehind":    {wire.ErrBehind, http.StatusServiceUnavailable, wire.KindNotReady},
	"wire.ErrStayed":    {wire.ErrStayed, http.StatusMisdirectedRequest, wire.KindNotMaster},

	// These errors never reach the API. If one does, that is a defect, and is answered as one.
	"driver.ErrClosed":       internal(driver.ErrClosed),       // Node.Commit returns ErrNotMaster
	"driver.ErrExclusive":    internal(driver.ErrExclusive),    // Node.Run returns it
	"driver.ErrNoState":      internal(driver.ErrNoState),      // Node.Run returns it
	"driver.ErrChanged":      internal(driver.ErrChanged),      // between node and store
	"driver.ErrStuck":        internal(driver.ErrStuck),        // in the node's last_error
	"driver.ErrNodeTaken":    internal(driver.ErrNodeTaken),    // Node.Run returns it
	"driver.ErrWrongServer":  internal(driver.ErrWrongServer),  // Open returns it
	"coordinator.ErrPending": internal(coordinator.ErrPending), // the handler answers 202
	"driver.ErrTermOver":     internal(driver.ErrTermOver),     // only a cause, inside ErrClosed
}

func internal(err error) sentinel {
	return sentinel{err, http.StatusInternalServerError, wire.KindInternal}
}

func TestProblemOf_Sentinels(t *testing.T) {
	for name, s := range sentinels {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{s.err, fmt.Errorf("do this: %w", fmt.Errorf("%w: for a reason", s.err))} {
				p := wire.ProblemOf(err)
				if p.Status != s.status || p.Type != s.kind || p.Title != http.StatusText(s.status) {
					t.Errorf("%v: %d %s %s, want %d %s", err, p.Status, p.Title, p.Type, s.status, s.kind)
				}
				if !strings.HasPrefix(p.Detail, err.Error()) {
					t.Errorf("detail %q does not say %q", p.Detail, err)
				}
			}
		})
	}
}

// A new error fails this test until it has a status.
func TestProblemOf_KnowsEverySentinel(t *testing.T) {
	declared := make(map[string]bool)
	for pkg, dir := range map[string]string{
		"rebind": "../../../rebind", "coordinator": "../../../coordinator", "driver": "../../../coordinator/driver", "wire": ".",
	} {
		for _, name := range exportedErrors(t, dir) {
			declared[pkg+"."+name] = true
			if _, ok := sentinels[pkg+"."+name]; !ok {
				t.Errorf("%s.%s has no place in the table of sentinels", pkg, name)
			}
		}
	}
	if len(declared) < 20 {
		t.Errorf("found %d sentinels, that is not all", len(declared))
	}
}

// exportedErrors lists the variables of a package whose names begin with Err.
func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR || strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, spec := range group.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

func TestProblemOf_ErrorsWithData(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"a conflict":           {&driver.ConflictError{Op: 2, Name: "entity/x", Expect: 5, Actual: 7}, 412, "entity/x is at revision 7"},
		"a master that exists": {&coordinator.MasterError{ID: "b", Err: coordinator.ErrMasterExists}, 409, "node b is master"},
		"nothing known":        {errors.New("surprise"), 500, "surprise"},
		"a problem already":    {fmt.Errorf("ask: %w", wire.NewProblem(404, wire.KindNotFound, "no such role")), 404, "no such role"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := wire.ProblemOf(c.err); p.Status != c.status || !strings.Contains(p.Detail, c.says) {
				t.Errorf("%d %q, want %d and %q", p.Status, p.Detail, c.status, c.says)
			}
		})
	}
}

// If one error wraps another, the answer has what matters to the client: an unknown outcome
// before its reason, a refusal before its reason.
func TestProblemOf_ErrorsWithinErrors(t *testing.T) {
	for _, c := range []struct {
		outer, inner error
		status       int
	}{
		{rebind.ErrUnknown, driver.ErrFenced, 504},
		{rebind.ErrUnknown, rebind.ErrUnavailable, 504},
		{rebind.ErrUnknown, driver.ErrRefused, 504},
		{rebind.ErrUnknown, driver.ErrLeaseLost, 504},
		{rebind.ErrUnknown, driver.ErrTermOver, 504},
		{driver.ErrFenced, driver.ErrTermOver, 503},
		{driver.ErrTermOver, driver.ErrLeaseLost, 503},
		{driver.ErrRefused, rebind.ErrUnavailable, 409},
		{coordinator.ErrNoMaster, rebind.ErrUnavailable, 503},
	} {
		err := fmt.Errorf("%w: %w", c.outer, c.inner)
		if p := wire.ProblemOf(err); p.Status != c.status {
			t.Errorf("%v: status = %d, want %d", err, p.Status, c.status)
		}
	}
}
