package integration_test

import (
	"encoding/xml"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// realMementos finds the state that real Apache Brooklyn servers persisted. It is
// not part of this project; COORDINATOR_BROOKLYN_DATA says where it lies.
func realMementos(t *testing.T) map[string][]byte {
	t.Helper()
	root := os.Getenv("COORDINATOR_BROOKLYN_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data", "brooklyn")
	}
	found := make(map[string][]byte)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		found[filepath.Base(filepath.Dir(path))+"/"+d.Name()] = text
		return err
	})
	if os.IsNotExist(err) {
		t.Skipf("no Brooklyn state at %s: set COORDINATOR_BROOKLYN_DATA to the folder that holds it", root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// parentOf is the parent that a memento names; it has its child's type.
func parentOf(name string, text []byte) string {
	var doc struct {
		Parent string `xml:"parent"`
	}
	// Brooklyn declares XML 1.1, which differs in nothing that matters here.
	body := strings.Replace(string(text), `version="1.1"`, `version="1.0"`, 1)
	if xml.Unmarshal([]byte(body), &doc) != nil || strings.TrimSpace(doc.Parent) == "" {
		return ""
	}
	typ, _, _ := strings.Cut(name, "/")
	return typ + "/" + strings.TrimSpace(doc.Parent)
}

// Promise: what was put is read back byte for byte, from the new master and from
// the hot backup, after the master is gone.
func TestBrooklyn_RealMementosSurviveTheirMaster(t *testing.T) {
	t.Parallel()
	mementos := realMementos(t)
	if len(mementos) != 27 {
		t.Errorf("%d mementos, want 27", len(mementos))
	}
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "standby") // cold: it loads them when it has to
	b.await("STANDBY")
	backup := c.node("c", "hot_backup")
	backup.await("HOT_BACKUP")
	parents, orphans := 0, 0
	for name, text := range mementos {
		header := map[string]string{"Content-Type": "application/xml"}
		if parent := parentOf(name, text); parent != "" {
			header["Coordinator-Parent"] = parent
			parents++
			if _, there := mementos[parent]; !there {
				orphans++
			}
		}
		got, err := call(t.Context(), http.MethodPut, a.url+"/v1/mementos/"+name, header, text)
		if err != nil || got.status != http.StatusCreated {
			t.Fatalf("put %s: %+v %v", name, got, err)
		}
	}
	if parents == 0 {
		t.Error("no memento has a parent, so parents are not tested")
	}
	a.kill()
	b.await("MASTER")
	for _, p := range []*process{b, backup} {
		for name, text := range mementos {
			got, err := call(t.Context(), http.MethodGet, p.url+"/v1/mementos/"+name, nil, nil)
			if err != nil || got.status != http.StatusOK || string(got.body) != string(text) {
				t.Errorf("%s reads %s: %v, not as it was put", p.name, name, err)
				continue
			}
			if ct, parent := got.header.Get("Content-Type"), got.header.Get("Coordinator-Parent"); ct != "application/xml" || parent != parentOf(name, text) {
				t.Errorf("%s: %s is %q, child of %q", p.name, name, ct, parent)
			}
		}
		var list struct{ Items []struct{ Type, ID string } }
		if err := p.get("/v1/mementos", &list); err != nil || len(list.Items) != len(mementos) {
			t.Errorf("%s lists %d, %v", p.name, len(list.Items), err)
		}
	}
	if said := b.field("mementos whose parents are missing or run in a circle", "count") != ""; said != (orphans > 0) {
		t.Errorf("%d parents are missing; the log says so: %t", orphans, said)
	}
	t.Logf("%d mementos, %d with a parent, %d of those without it", len(mementos), parents, orphans)
	c.judge()
}
