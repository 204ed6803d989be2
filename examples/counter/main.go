// Command counter is the program of docs/LIBRARY.md: one of its processes counts, the
// others stand by.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordhttp"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

var counts = rebind.JSON[int]("count")

func main() {
	id, address := os.Args[1], os.Args[2]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	store, err := etcdstore.Open(ctx, etcdstore.Config{
		Endpoints: []string{"127.0.0.1:2379"}, Prefix: "/coordinator", Plane: "counter", TTL: 6 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	node, err := coordinator.New(coordinator.Config{
		ID: id, Plane: "counter", Mode: modes.Auto, URI: "http://" + address, Lead: lead,
	}, store)
	if err != nil {
		log.Fatal(err)
	}
	log.Println("ended:", coordhttp.ListenAndRun(ctx, node, address, coordhttp.Options{}))
}

// lead runs while this node is master. Its context ends with the term.
func lead(ctx context.Context, l *coordinator.Leader) error {
	for ctx.Err() == nil {
		last, err := counts.Get(l.View(), "steps") // from memory; 0 if there is none yet
		if err == nil || errors.Is(err, rebind.ErrNotFound) {
			_, err = counts.Put(ctx, l, "steps", last.Value+1) // durable when it returns
		}
		if err != nil {
			log.Println("trying again:", err)
		} else {
			log.Printf("term %d, step %d", l.Term(), last.Value+1)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}
