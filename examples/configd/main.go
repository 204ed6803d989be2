// Command configd serves a configuration: one node leads and takes writes, and any number of
// backups answer reads, each with a bound on how old the answer is. See README.md.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordhttp"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
)

func main() {
	id := flag.String("node-id", "a", "id of this node")
	listen := flag.String("listen", "127.0.0.1:7400", "address of the configuration and of the API")
	backup := flag.Bool("backup", false, "never lead: be a read replica")
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "client URLs of etcd, separated by commas")
	flag.Parse()
	mode := modes.Auto
	if *backup {
		mode = modes.HotBackup
	}
	cfg := coordinator.Config{ID: *id, Plane: "configd", URI: "http://" + *listen, Mode: mode}
	if err := run(cfg, *listen, strings.Split(*endpoints, ",")); err != nil {
		log.Fatal(err)
	}
}

// run serves the configuration and the node's API on one port, until a signal ends the process.
func run(cfg coordinator.Config, listen string, endpoints []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: endpoints, Prefix: "/coordinator", Plane: cfg.Plane, TTL: 6 * time.Second})
	if err != nil {
		return err
	}
	defer store.Close()
	node, err := coordinator.New(cfg, store)
	if err != nil {
		return err
	}
	return coordhttp.ListenAndRun(ctx, node, listen, coordhttp.Options{Fallback: &Service{node}})
}
