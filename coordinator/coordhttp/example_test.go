package coordhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordhttp"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
)

// A program that embeds a node and can be operated by the command and asked by a load balancer.
func Example() {
	store := memstore.New(6 * time.Second) // for etcd: etcdstore.Open
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	url := "http://" + l.Addr().String()
	node, err := coordinator.New(coordinator.Config{ID: "a", Plane: "p", Mode: modes.Auto, URI: url}, store.Node("a"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var program sync.WaitGroup
	program.Go(func() {
		if err := coordhttp.Run(ctx, node, l, coordhttp.Options{}); err != nil {
			fmt.Println(err)
		}
	})

	for get(url+"/role/master") != nil {
	}
	fmt.Println("a load balancer finds the master")
	stop()
	program.Wait()
	fmt.Println("then:", node.State())
	// Output:
	// a load balancer finds the master
	// then: TERMINATED
}

func get(url string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("%s: %s", resp.Status, text))
	}
	return nil
}
