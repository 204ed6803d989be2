// This file tests listings with payloads.

package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
)

func TestList_Values(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	for name, c := range map[string]struct {
		contentType, payload string
		data                 string // empty if it comes as base64
	}{
		"json":                   {"application/json", ` {"a": [1, 2.50, "é<&>"]} `, `{"a":[1,2.50,"é<&>"]}`},
		"json-null":              {"application/json; charset=utf-8", "null", "null"},
		"json-by-suffix":         {"application/vnd.x+json", `"x"`, `"x"`},
		"json-by-suffix-that-is": {"application/vnd.x+json", `{"half`, ""},
		"json-not-utf8":          {"application/vnd.x+json", "\"\xff\"", ""},
		"json-of-no-type":        {"", `{"a":1}`, ""},
		"text":                   {"text/plain", "hello", ""},
		"bytes":                  {"application/octet-stream", byteRange(), ""},
		"empty":                  {"", "", ""},
		"empty-json":             {"application/vnd.x+json", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rev := a.put(t, "entity/"+name, c.payload, typed(c.contentType)...).want(http.StatusCreated).revision()
			for _, query := range [][]string{{}, {"revision", fmt.Sprint(rev)}} {
				got := a.list(t, append(query, "type", "entity", "prefix", name, "limit", "1", "values", "true")...)
				item := got.page().Items[0]
				switch {
				case item.ID != name || item.Size != len(c.payload):
					t.Errorf("item %+v", item)
				case c.data != "" && (string(item.Data) != c.data || item.DataBase64 != nil):
					t.Errorf("data %s and base64 %v, want data %s", item.Data, item.DataBase64, c.data)
				case c.data == "" && (item.Data != nil || item.DataBase64 == nil || *item.DataBase64 != base64.StdEncoding.EncodeToString([]byte(c.payload))):
					t.Errorf("data %s and base64 %v, want base64 of %q", item.Data, item.DataBase64, c.payload)
				}
			}
		})
	}
	for _, query := range [][]string{{}, {"values", "false"}} {
		var raw struct{ Items []map[string]json.RawMessage }
		a.list(t, query...).want(http.StatusOK).decode(&raw)
		for _, item := range raw.Items {
			if item["data"] != nil || item["data_base64"] != nil {
				t.Fatalf("%v shows a payload: %s", query, item)
			}
		}
	}
}

// The payloads of a page are limited in bytes, and the next page continues after it.
func TestList_ValuesBoundThePage(t *testing.T) {
	a := newPlane(t).lead("a")
	large := strings.Repeat("x", maxPayload)
	const count = 200 // of 64 KiB each: 17 MiB as base64
	for i := range count {
		a.put(t, fmt.Sprintf("entity/%03d", i), large).want(http.StatusCreated)
	}
	for _, query := range [][]string{{}, {"revision", fmt.Sprint(a.inventoryAt(t))}} {
		pages, found, next := 0, 0, ""
		for more := true; more; pages++ {
			got := a.list(t, append(query, "values", "true", "limit", "5000", "after", next)...)
			if len(got.body) > httpapi.MaxPageBytes+count*1000 {
				t.Errorf("page of %d bytes", len(got.body))
			}
			list := got.page()
			for _, m := range list.Items {
				if m.ID != fmt.Sprintf("%03d", found) {
					t.Fatalf("%s stands at place %d", m.ID, found)
				}
				found++
			}
			next, more = list.Next, list.Next != ""
		}
		if found != count || pages != 3 {
			t.Errorf("%d items on %d pages, want %d on 3", found, pages, count)
		}
	}
	if list := a.list(t, "limit", "5000").page(); len(list.Items) != count {
		t.Errorf("%d items without payloads, want all %d on one page", len(list.Items), count)
	}
}

// typed is the header with the media type of a payload, or none.
func typed(contentType string) []string {
	if contentType == "" {
		return nil
	}
	return []string{"Content-Type", contentType}
}
