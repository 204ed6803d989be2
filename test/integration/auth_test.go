package integration_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// requests counts what etcd has been asked so far.
func (c *cluster) requests() int {
	c.t.Helper()
	resp, err := httpClient.Get("http://" + c.endpoint + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	total, found := 0.0, false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(name, "grpc_server_started_total{") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			total, found = total+n, true
		}
	}
	if !found {
		c.t.Fatal("etcd does not count requests")
	}
	return int(total)
}

// Promise: an etcd that begins to ask for credentials under running nodes ends
// none of them and makes none spin; they say what is wrong, and come back by
// themselves when it ends.
func TestStore_AuthEnabledUnderALivePlane(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	c := newCluster(t, ttl)
	c.begin()
	c.nodes["a"].mustPut("entity/x", "kept")
	_, before := c.led()
	ctx := t.Context()
	for _, err := range []error{
		second(c.raw.UserAdd(ctx, "root", "secret")),
		second(c.raw.UserGrantRole(ctx, "root", "root")),
		second(c.raw.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{c.endpoint}, Username: "root", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	calm := c.calm()
	began, asked := time.Now(), c.requests()
	for _, p := range c.nodes {
		p.says("credentials")
		eventually(t, maxWait, func() error {
			if v, err := p.plane(); err != nil || !strings.Contains(v.StoreError, "credentials") {
				return fmt.Errorf("%s does not say that it lacks credentials: %+v, %w", p.name, v, err)
			}
			return p.role("writable", http.StatusServiceUnavailable)
		})
	}
	c.idle(10 * time.Second)
	calm()
	took, n := time.Since(began), c.requests()-asked
	t.Logf("%d requests in %s", n, took.Round(time.Second))
	if most := 30 * len(c.nodes) * int(took/time.Second+1); n > most {
		t.Errorf("%d nodes sent %d requests in %s, want at most %d", len(c.nodes), n, took, most)
	}
	if _, err := root.AuthDisable(ctx); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	master, after := c.led()
	t.Logf("term %d → %d, in order %s after auth ended", before, after, time.Since(began).Round(time.Millisecond))
	if after <= before {
		t.Errorf("term %d follows %d", after, before)
	}
	master.mustPut("entity/y", "new")
	c.holdsOnly(map[string]string{"entity/x": "kept", "entity/y": "new"})
	c.judge()
}

// second drops the first of two results.
func second[T any](_ T, err error) error { return err }
