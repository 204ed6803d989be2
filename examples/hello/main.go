// Command hello counts in typed state how often it greeted: hello ID HOST:PORT ETCD...
package main

import (
	"context"
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

var greetings = rebind.JSON[int]("greetings")

func lead(ctx context.Context, l *coordinator.Leader) error { // runs while this node is master
	for ; ctx.Err() == nil; <-time.After(100 * time.Millisecond) {
		count, _ := greetings.Get(l.View(), "world") // 0 before the first
		log.Println(greetings.Put(ctx, l, "world", count.Value+1))
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt)
	store := must(etcdstore.Open(ctx, etcdstore.Config{Endpoints: os.Args[3:], Prefix: "/coordinator", Plane: "hello", TTL: 6 * time.Second}))
	node := must(coordinator.New(coordinator.Config{ID: os.Args[1], Plane: "hello", Mode: modes.Auto, URI: "http://" + os.Args[2], Lead: lead}, store))
	log.Println(coordhttp.ListenAndRun(ctx, node, os.Args[2], coordhttp.Options{}))
}
