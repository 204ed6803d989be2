package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// embeddedNode starts a node that brings its own etcd.
func embeddedNode(t *testing.T, dir, store string, args ...string) *process {
	t.Helper()
	c := &cluster{t: t}
	p := spawn(t, "a", coordinatorBin, append([]string{
		"run", "--node-id", "a", "--data-dir", dir, "--embed-client-url", "http://" + store,
		"--listen", "127.0.0.1:0", "--log-format", "json",
	}, args...)...)
	c.served(p)
	return p
}

// Promise: a node that was killed and is restarted from its own data directory
// leads again at once, whatever the TTL, with all it had acknowledged.
func TestRestart_FromItsOwnDataDirectory(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), freeAddress(t)
	a := embeddedNode(t, dir, store, "--lease-ttl", "60s")
	a.await("MASTER")
	for i := range 20 {
		a.mustPut(fmt.Sprintf("entity/e%d", i), fmt.Sprint(i))
	}
	a.kill()
	began := time.Now()
	a = embeddedNode(t, dir, store, "--lease-ttl", "60s")
	a.await("MASTER")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("leads again after %s", took)
	} else {
		t.Logf("leads again %s after the start of its process (TTL 60s)", took.Round(time.Millisecond))
	}
	for i := range 20 {
		if err := a.reads(fmt.Sprintf("entity/e%d", i), fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
}

// The same holds for a node on an external store.
func TestRestart_OnAnExternalStore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 60*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	a.mustPut("entity/x", "unique")
	a.kill()
	began := time.Now()
	a = c.node("a", "auto")
	a.await("MASTER")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("leads again after %s", took)
	}
	if err := a.reads("entity/x", "unique"); err != nil {
		t.Error(err)
	}
	c.judge()
}

// Promise: a second process of one node id is refused while the first lives, and
// the first is not disturbed.
func TestNodeID_SecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	second := spawn(t, "second a", coordinatorBin, "run", "--node-id", "a", "--plane", c.plane, "--endpoints", c.endpoint,
		"--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--lease-ttl", "2s")
	if code := second.exit(maxWait); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if !bytes.Contains([]byte(second.output()), []byte(a.url)) {
		t.Errorf("it does not name the holder:\n%s", second.output())
	}
	same := spawn(t, "same directory", coordinatorBin, "run", "--node-id", "a", "--plane", c.plane, "--endpoints", c.endpoint,
		"--listen", "127.0.0.1:0", "--data-dir", filepath.Join(c.etcdDir, "nodes-a"))
	if code := same.exit(maxWait); code != 2 {
		t.Errorf("exit code %d with the directory in use, want 2:\n%s", code, same.output())
	}
	if err := a.is("MASTER"); err != nil {
		t.Error(err)
	}
	if found := c.judge(); len(found.Terms) != 1 {
		t.Errorf("terms %+v", found.Terms)
	}
	// A dead one's id is had once its record lapses, from another directory too.
	a.kill()
	third := spawn(t, "third a", coordinatorBin, "run", "--node-id", "a", "--plane", c.plane, "--endpoints", c.endpoint,
		"--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--lease-ttl", "2s", "--log-format", "json")
	c.served(third)
	third.await("MASTER")
	if resp, err := call(t.Context(), http.MethodGet, third.url+"/livez", nil, nil); err != nil || resp.status != http.StatusOK {
		t.Errorf("livez: %+v %v", resp, err)
	}
}
