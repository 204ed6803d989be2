// This file checks every exchange of the tests against openapi.json.

package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// contract checks exchanges against openapi.json.
type contract struct {
	doc    *openapi3.T
	router routers.Router
}

// theContract is openapi.json, made stricter than it is for clients. They must ignore unknown
// fields in answers, so the document allows them; in the tests an undocumented field is a
// mistake.
var theContract = sync.OnceValues(func() (*contract, error) {
	var raw any
	if err := json.Unmarshal(httpapi.Document(), &raw); err != nil {
		return nil, fmt.Errorf("decode openapi.json: %w", err)
	}
	closeObjects(raw)
	strict, err := json.Marshal(raw)
	if err != nil {
		return nil, fmt.Errorf("encode openapi.json: %w", err)
	}
	return readContract(strict)
})

// readTheContract returns theContract.
func readTheContract(t *testing.T) *contract {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readContract(document []byte) (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("load openapi.json: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("openapi.json is not valid: %w", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route openapi.json: %w", err)
	}
	return &contract{doc: doc, router: router}, nil
}

// closeObjects makes every object schema refuse properties that it does not name.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, ok := node["properties"].(map[string]any); ok && node["type"] == "object" {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// check returns what in an exchange is not as documented: the status, headers or body of the
// answer, or a request that was accepted although the document does not allow it.
func (c *contract) check(req *http.Request, sent []byte, a *answer) error {
	probe := req.Clone(context.Background())
	probe.Body = io.NopCloser(bytes.NewReader(sent))
	bodiless := probe.Method == http.MethodHead
	if bodiless {
		probe.Method = http.MethodGet // the document says that HEAD is answered like GET
	}
	route, params, err := c.router.FindRoute(probe)
	for name, escaped := range params { // the router returns them escaped
		if params[name], err = url.PathUnescape(escaped); err != nil {
			return err
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: probe, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			SkipSettingDefaults: true, RejectWhenRequestBodyNotSpecified: true,
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, // the node decides whether a caller needs credentials
		},
	}
	switch {
	case errors.Is(err, routers.ErrPathNotFound):
		in.Route = c.shared("BadRequest", "NotFound", "Forbidden")
	case errors.Is(err, routers.ErrMethodNotAllowed):
		in.Route = c.shared("BadRequest", "MethodNotAllowed", "Forbidden")
	case err != nil:
		return err
	case a.status < http.StatusBadRequest:
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("request was taken: %w", err)
		}
	}
	return checkAnswer(in, a, bodiless)
}

// Statuses of the errors that the document describes once for all paths.
var sharedStatus = map[string]int{
	"BadRequest":       http.StatusBadRequest,
	"NotFound":         http.StatusNotFound,
	"MethodNotAllowed": http.StatusMethodNotAllowed,
	"Internal":         http.StatusInternalServerError,
	"Forbidden":        http.StatusForbidden, // a cross-origin request of a browser
}

// shared returns a route whose answer has to be one of the named shared responses.
func (c *contract) shared(names ...string) *routers.Route {
	var options []openapi3.NewResponsesOption
	for _, name := range names {
		options = append(options, openapi3.WithStatus(sharedStatus[name], c.doc.Components.Responses[name]))
	}
	return &routers.Route{Spec: c.doc, Operation: &openapi3.Operation{Responses: openapi3.NewResponses(options...)}}
}

func checkAnswer(in *openapi3filter.RequestValidationInput, a *answer, bodiless bool) error {
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: a.status, Header: a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: bodiless},
	}
	out.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		return err
	}
	response := in.Route.Operation.Responses.Status(a.status)
	if response == nil {
		return errors.New("status is not documented") // the library ignores redirects
	}
	if (len(response.Value.Content) == 0 || bodiless) && len(a.body) > 0 {
		return errors.New("there is a body, and none is documented")
	}
	for key := range a.header {
		ours := strings.HasPrefix(key, "Coordinator-") || slices.Contains([]string{"Etag", "Location", "Retry-After", "Allow", "Www-Authenticate"}, key)
		if ours && !documented(response.Value.Headers, key) {
			return fmt.Errorf("header %s is not documented", key)
		}
	}
	if a.status < http.StatusBadRequest || bodiless {
		return nil
	}
	var p wire.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || p.Status != a.status || p.Title != http.StatusText(a.status) {
		return fmt.Errorf("problem does not match its status: %v", err)
	}
	return nil
}

func documented(headers openapi3.Headers, key string) bool {
	for name := range headers {
		if http.CanonicalHeaderKey(name) == key {
			return true
		}
	}
	return false
}

func TestDocument_IsValid(t *testing.T) {
	if _, err := readContract(httpapi.Document()); err != nil {
		t.Fatal(err)
	}
	var formatted bytes.Buffer
	if err := json.Indent(&formatted, httpapi.Document(), "", "  "); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(formatted.String(), string(httpapi.Document())); diff != "" {
		t.Errorf("openapi.json is not formatted with two spaces (-want +got):\n%s", diff)
	}
}

func TestDocument_HasTheServersRoutes(t *testing.T) {
	api := httpapi.New(httpapi.Config{})
	defer api.Close()
	var documented []string
	for path, item := range readTheContract(t).doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(api.Patterns(), documented); diff != "" {
		t.Errorf("routes of the server (-) and of the document (+) differ:\n%s", diff)
	}
}

func TestDocument_EveryOperationSpeaksToPeople(t *testing.T) {
	for path, item := range readTheContract(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || op.OperationID == "" {
				t.Errorf("%s %s has no summary or no operationId", method, path)
			}
		}
	}
	for name, s := range readTheContract(t).doc.Components.Schemas {
		if s.Value.Description == "" {
			t.Errorf("schema %s has no description", name)
		}
		for property, p := range s.Value.Properties {
			if p.Value.Description == "" {
				t.Errorf("%s.%s has no description", name, property)
			}
		}
	}
}

// schemaTypes maps the document's schemas to Go types.
var schemaTypes = map[string]any{
	"Problem": wire.Problem{}, "Node": wire.Node{}, "Mirror": wire.Mirror{}, "Fault": wire.Fault{},
	"Transition": wire.Transition{}, "ModeRequest": wire.ModeRequest{}, "ModeState": wire.ModeState{},
	"ModeReply": wire.ModeReply{}, "PriorityRequest": wire.PriorityRequest{},
	"PriorityReply": wire.PriorityReply{}, "Plane": wire.Plane{}, "PlaneNode": wire.PlaneNode{},
	"HandoverRequest": wire.HandoverRequest{}, "HandoverReply": wire.HandoverReply{}, "DryRunReply": wire.DryRunReply{},
	"PauseRequest": wire.PauseRequest{}, "ResumeRequest": struct{}{}, "PauseReply": wire.PauseReply{},
	"LogLevel": wire.LogLevel{}, "LogLevelRequest": wire.LogLevelRequest{}, "LogLevelReply": wire.LogLevelReply{},
	"Pause": driver.Pause{}, "ForgetReply": wire.ForgetReply{},
	"ExclusiveNode": driver.Guard{}, "Left": driver.Departed{}, "Stray": driver.Stray{},
	"History": wire.History{}, "HistoryEntry": driver.HistoryEntry{}, "List": wire.List{}, "Types": wire.Types{},
	"Memento": wire.Memento{}, "Batch": wire.Batch{}, "Written": wire.Written{},
	"Health": wire.Health{}, "Check": wire.Check{},
	"Bookmark": wire.Bookmark{}, "Step": wire.Step{},
	"Imported": wire.Imported{}, "ImportNames": wire.ImportNames{},
}

// manySchemas has the Go types that have several schemas, one for each kind.
var manySchemas = []struct {
	goType  any
	schemas []string
}{
	{wire.Op{}, []string{"PutOp", "DeleteOp"}},
	{wire.Change{}, []string{"PutChange", "QuarantinedChange", "DeleteChange"}},
}

func TestDocument_ObjectsAreTheWires(t *testing.T) {
	schemas := readTheContract(t).doc.Components.Schemas
	var parts []string
	for _, many := range manySchemas {
		parts = append(parts, many.schemas...)
		fields, _ := fieldsOf(reflect.TypeOf(many.goType))
		var all []string
		for _, name := range many.schemas {
			all = append(all, propertiesOf(schemas[name].Value)...)
		}
		slices.Sort(all)
		if diff := cmp.Diff(fields, slices.Compact(all)); diff != "" {
			t.Errorf("fields of %T (-) and properties of %v (+) differ:\n%s", many.goType, many.schemas, diff)
		}
	}
	for name, s := range schemas {
		if !s.Value.Type.Is("object") || slices.Contains(parts, name) {
			continue
		}
		goType, ok := schemaTypes[name]
		if !ok {
			t.Errorf("schema %s stands for no Go type", name)
			continue
		}
		fields, always := fieldsOf(reflect.TypeOf(goType))
		if diff := cmp.Diff(fields, propertiesOf(s.Value)); diff != "" {
			t.Errorf("fields of %T (-) and properties of %s (+) differ:\n%s", goType, name, diff)
		}
		if strings.HasSuffix(name, "Request") {
			continue // the server decides which fields a client has to send
		}
		required := slices.Sorted(slices.Values(s.Value.Required))
		if diff := cmp.Diff(always, required); diff != "" {
			t.Errorf("fields that %T always has (-) and what %s requires (+) differ:\n%s", goType, name, diff)
		}
	}
}

// fieldsOf lists the JSON fields of a type, and those that are never left out.
func fieldsOf(t reflect.Type) (all, always []string) {
	for _, f := range reflect.VisibleFields(t) {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue // an embedded struct; its fields are visible as well
		}
		all = append(all, name)
		if option != "omitempty" {
			always = append(always, name)
		}
	}
	slices.Sort(all)
	slices.Sort(always)
	return all, always
}

func propertiesOf(s *openapi3.Schema) []string {
	var names []string
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestDocument_WordsAreTheRules(t *testing.T) {
	words := func(name string) []string {
		var enum []string
		for _, v := range readTheContract(t).doc.Components.Schemas[name].Value.Enum {
			enum = append(enum, fmt.Sprint(v))
		}
		return enum
	}
	var wantModes, wantStates []string
	for _, m := range modes.Modes() {
		wantModes = append(wantModes, m.String())
	}
	for _, s := range modes.States() {
		wantStates = append(wantStates, s.String())
	}
	if diff := cmp.Diff(wantModes, words("Mode")); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantStates, words("State")); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// The test of the check itself: it accepts a correct answer, and refuses each answer with a
// single mistake.
func TestContract_CatchesMistakes(t *testing.T) {
	const (
		written = `{"revision":5}`
		node    = `{"id":"a","plane":"p","instance":"i","mode":"auto","state":"MASTER","priority":0,"version":"1","uri":"u",` +
			`"started":"2026-01-01T00:00:00Z","since":"2026-01-01T00:00:00Z","promotable":true,"why_not":""}`
		plane = `{"plane":"p","plane_id":"i","master":null,"term":1,"revision":5,"paused":false,"pause":null,` +
			`"next":"b","next_why":"the only candidate","exclusive":null,"seclusion":null,"nodes":[` + node + `],"left":[]}`
		gone = `{"type":"urn:x","title":"Not Found","status":404,"detail":"it is not there"}`
	)
	for name, c := range map[string]struct {
		method, path string
		status       int
		contentType  string
		header       map[string]string
		body         string
		right        bool
	}{
		"a right plane":              {"GET", "/v1/plane", 200, "application/json", nil, plane, true},
		"a right problem":            {"DELETE", "/v1/mementos/t/x", 404, wire.ProblemType, nil, gone, true},
		"a right delete":             {"DELETE", "/v1/mementos/t/x", 204, "", map[string]string{"Coordinator-Revision": "5", "Coordinator-Node": "a"}, "", true},
		"a right write":              {"PUT", "/v1/mementos/t/x", 201, "application/json", map[string]string{"ETag": `"5"`, "Coordinator-Revision": "5", "Coordinator-Node": "a"}, written, true},
		"an undocumented status":     {"GET", "/v1/plane", 418, wire.ProblemType, nil, gone, false},
		"a redirect":                 {"GET", "/v1/plane", 301, "", map[string]string{"Location": "/"}, "", false},
		"a field too many":           {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `{"plane"`, `{"more":1,"plane"`, 1), false},
		"a field too many, deep":     {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `"id":"a"`, `"id":"a","more":1`, 1), false},
		"a field too few":            {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `"term":1,`, ``, 1), false},
		"a field too few, deep":      {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `"why_not":""`, `"why_not_":""`, 1), false},
		"null where none is allowed": {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `[`+node+`]`, `null`, 1), false},
		"a word that is no state":    {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `MASTER`, `master`, 1), false},
		"a time that is none":        {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `2026-01-01T00:00:00Z`, `today`, 1), false},
		"a number as text":           {"GET", "/v1/plane", 200, "application/json", nil, strings.Replace(plane, `"term":1`, `"term":"1"`, 1), false},
		"an error as plain JSON":     {"DELETE", "/v1/mementos/t/x", 404, "application/json", nil, gone, false},
		"an error without a detail":  {"DELETE", "/v1/mementos/t/x", 404, wire.ProblemType, nil, strings.Replace(gone, "it is not there", "", 1), false},
		"an error of other status":   {"DELETE", "/v1/mementos/t/x", 404, wire.ProblemType, nil, strings.Replace(gone, "404", "400", 1), false},
		"a header too few":           {"DELETE", "/v1/mementos/t/x", 204, "", map[string]string{"Coordinator-Node": "a"}, "", false},
		"a header too many":          {"GET", "/v1/plane", 200, "application/json", map[string]string{"Coordinator-Term": "1"}, plane, false},
		"no name of the node":        {"GET", "/v1/plane", 200, "application/json", map[string]string{"Coordinator-Node": ""}, plane, false},
		"a header that is no number": {"DELETE", "/v1/mementos/t/x", 204, "", map[string]string{"Coordinator-Revision": "x", "Coordinator-Node": "a"}, "", false},
		"an ETag without quotes":     {"PUT", "/v1/mementos/t/x", 201, "application/json", map[string]string{"ETag": "5", "Coordinator-Revision": "5", "Coordinator-Node": "a"}, written, false},
		"a body where none is":       {"DELETE", "/v1/mementos/t/x", 204, "application/json", map[string]string{"Coordinator-Revision": "5", "Coordinator-Node": "a"}, written, false},
		"an answer off the map":      {"GET", "/v2/plane", 200, "application/json", nil, plane, false},
		"a method off the map":       {"PATCH", "/v1/plane", 200, "application/json", nil, plane, false},
		"a bad name that is taken":   {"DELETE", "/v1/mementos/T/x", 204, "", map[string]string{"Coordinator-Revision": "5", "Coordinator-Node": "a"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, "http://a"+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := &answer{status: c.status, header: http.Header{wire.HeaderNode: {"a"}}, body: []byte(c.body)}
			if c.contentType != "" {
				a.header.Set("Content-Type", c.contentType)
			}
			for key, value := range c.header {
				a.header.Set(key, value)
			}
			if err := readTheContract(t).check(req, nil, a); (err == nil) != c.right {
				t.Errorf("right = %t, check says: %v", c.right, err)
			}
		})
	}
}
