package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/modes"
)

// BenchmarkQuarantine compares what a master does per second with a hundred thousand
// mementos in quarantine and without: API answers, and fenced writes.
func BenchmarkQuarantine(b *testing.B) {
	const sick, together = 100_000, 100
	h := newLab(b)
	master := h.node("a", modes.Auto)
	payload := make([]byte, valueSize)
	if err := commit(b.Context(), master, 0, 1, payload); err != nil {
		b.Fatal(err)
	}
	api := httpapi.New(httpapi.Config{Node: master, MaxPayload: 1 << 20})
	b.Cleanup(api.Close)
	server := httptest.NewServer(api)
	b.Cleanup(server.Close)
	kinds := []struct {
		name string
		do   func(ctx context.Context, key int) error
	}{
		{"livez", asking(server.URL + "/livez")},
		{"read", asking(server.URL + "/v1/mementos/entity/0-0")},
		{"write", func(ctx context.Context, key int) error { return commit(ctx, master, key, 1, payload) }},
	}
	pairs := make([]pair, len(kinds))
	measure := func(side func(*pair) *[]float64) {
		for i, k := range kinds {
			into := side(&pairs[i])
			for range 3 {
				*into = append(*into, rate(b, 4, slice, k.do))
			}
		}
	}
	measure(func(p *pair) *[]float64 { return &p.bare })
	for i := 0; i < sick; i += together {
		puts := make([]clientv3.Op, together)
		for k := range puts {
			puts[k] = clientv3.OpPut(fmt.Sprintf("/coordinator/bench/mementos/sick/%06d", i+k), "no memento")
		}
		if _, err := h.bare.Txn(b.Context()).Then(puts...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
	for master.Status().Quarantined < sick {
		if err := master.Confirm(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	measure(func(p *pair) *[]float64 { return &p.ours })
	for i, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
			}
			pairs[i].report(b)
		})
	}
}

// asking returns a func that requests a URL and fails unless it is answered.
func asking(url string) func(ctx context.Context, key int) error {
	return func(ctx context.Context, _ int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		return nil
	}
}
