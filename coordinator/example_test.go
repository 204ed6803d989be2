package coordinator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// A program that leads while its node is master. This is the README's snippet.
func Example() {
	_ = func(ctx context.Context) error {
		store, err := etcdstore.Open(ctx, etcdstore.Config{
			Endpoints: []string{"127.0.0.1:2379"}, Prefix: "/coordinator", Plane: "default", TTL: 6 * time.Second,
		})
		if err != nil {
			return err
		}
		defer store.Close()
		node, err := coordinator.New(coordinator.Config{
			ID: "a", Plane: "default", Mode: modes.Auto,
			// Lead is called once for each term this node holds; ctx ends with the term.
			Lead: func(ctx context.Context, l *coordinator.Leader) error {
				mementos, _ := l.View().Ordered()
				for _, m := range mementos {
					fmt.Println("taking over", m.Name)
				}
				_, err := l.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{
					Name: "note/term", Put: &rebind.Content{Payload: fmt.Appendf(nil, "led in term %d", l.Term())},
				}}})
				if err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			},
		}, store)
		if err != nil {
			return err
		}
		return node.Run(ctx) // until ctx ends
	}
}
