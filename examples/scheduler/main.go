// Command scheduler runs a command every so often, on whichever of its nodes is master, and records
// each run with its outcome. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
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
	listen := flag.String("listen", "127.0.0.1:7400", "address of the API")
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "client URLs of etcd, separated by commas")
	every := flag.Duration("every", 10*time.Second, "how often to run the command, at least 1s")
	flag.Parse()
	if flag.NArg() == 0 || *every < time.Second {
		log.Fatal("usage: scheduler [flags] COMMAND [ARGUMENT...]")
	}
	job := Job{Name: "command", Every: *every, Do: func(ctx context.Context, due time.Time) error {
		cmd := exec.CommandContext(ctx, flag.Arg(0), flag.Args()[1:]...)
		cmd.Env = append(os.Environ(), "DUE="+due.UTC().Format(time.RFC3339))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	}}
	if err := serve(*id, *listen, strings.Split(*endpoints, ","), job); err != nil {
		log.Fatal(err)
	}
}

// serve runs a node with the job until a signal ends the process.
func serve(id, listen string, endpoints []string, job Job) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: endpoints, Prefix: "/coordinator", Plane: "scheduler", TTL: 6 * time.Second})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer store.Close()
	s := &Scheduler{Node: id, Jobs: []Job{job}}
	node, err := coordinator.New(coordinator.Config{ID: id, Plane: "scheduler", URI: "http://" + listen, Mode: modes.Auto, Lead: s.Lead}, store)
	if err != nil {
		return err
	}
	return coordhttp.ListenAndRun(ctx, node, listen, coordhttp.Options{})
}
