// Command external-fence is a file server that is not behind etcd, and a program that writes to it
// from whichever of its nodes is master. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
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
	serve := flag.String("serve", "", "directory: be the file server")
	id := flag.String("node-id", "a", "id of this node")
	listen := flag.String("listen", "127.0.0.1:7400", "address to listen at")
	server := flag.String("server", "http://127.0.0.1:7500", "URL of the file server")
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "client URLs of etcd, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = serveFiles(*serve, *listen)
	} else {
		w := &Writer{Node: *id, Server: *server, Client: &http.Client{Timeout: 10 * time.Second}, Every: time.Second, Report: func() []byte {
			return fmt.Appendf(nil, "written by %s at %s\n", *id, time.Now().UTC().Format(time.RFC3339))
		}}
		err = run(ctx, w, *listen, strings.Split(*endpoints, ","))
	}
	if err != nil {
		log.Print(err)
	}
}

func serveFiles(dir, listen string) error {
	s, err := OpenFileServer(dir)
	if err != nil {
		return err
	}
	return (&http.Server{Addr: listen, Handler: s, ReadTimeout: time.Minute, WriteTimeout: time.Minute}).ListenAndServe()
}

func run(ctx context.Context, w *Writer, listen string, endpoints []string) error {
	store, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: endpoints, Prefix: "/coordinator", Plane: "fence", TTL: 6 * time.Second})
	if err != nil {
		return err
	}
	defer store.Close()
	node, err := coordinator.New(coordinator.Config{ID: w.Node, Plane: "fence", URI: "http://" + listen, Mode: modes.Auto, Lead: w.Lead}, store)
	if err != nil {
		return err
	}
	return coordhttp.ListenAndRun(ctx, node, listen, coordhttp.Options{})
}
