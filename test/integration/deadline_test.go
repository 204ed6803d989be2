package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// begun returns a channel that brings when a term after the given one was seen to
// begin, by this process's clock.
func (c *cluster) begun(after int64) <-chan time.Time {
	c.t.Helper()
	watch := c.raw.Watch(c.t.Context(), c.key("term"), clientv3.WithRev(c.revision()+1))
	seen := make(chan time.Time, 1)
	var group sync.WaitGroup
	c.t.Cleanup(group.Wait)
	group.Go(func() {
		for resp := range watch {
			at := time.Now()
			for _, ev := range resp.Events {
				var record struct{ Term int64 }
				if json.Unmarshal(ev.Kv.Value, &record) == nil && record.Term > after {
					seen <- at
					return
				}
			}
		}
	})
	return seen
}

// acted follows a node for as long as ctx lasts, and returns a func that waits for
// that and tells when the last question was sent that it answered as a master.
func (p *process) acted(ctx context.Context) func() time.Time {
	var last time.Time
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			sent := time.Now()
			a, err := call(ctx, http.MethodGet, p.url+"/role/writable", nil, nil)
			if err == nil && a.status == http.StatusOK {
				last = sent
			}
			<-tick.C
		}
	})
	return func() time.Time { group.Wait(); return last }
}

// Promise: a master that etcd's answers no longer reach, or whose requests no
// longer reach etcd, stops acting by its own clock before another node's term
// begins, and what was held on the way changes nothing when it arrives.
func TestDeadline_MasterCutOffOneWay(t *testing.T) {
	for name, ways := range map[string]func(p *proxy) []*valve{
		"answers held":  func(p *proxy) []*valve { return []*valve{&p.answers} },
		"requests held": func(p *proxy) []*valve { return []*valve{&p.requests} },
		"both held":     func(p *proxy) []*valve { return []*valve{&p.requests, &p.answers} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3*time.Second)
			direct := c.endpoint
			between := newProxy(t, direct)
			c.endpoint = between.address
			a := c.node("a", "auto")
			c.endpoint = direct
			a.await("MASTER")
			c.node("b", "hot_standby").await("HOT_STANDBY")
			c.node("d", "hot_backup").await("HOT_BACKUP")
			w := startWriters(t, 4, c.all()...)
			w.more(t, 40)
			_, term := c.led()

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			acted, begun := a.acted(ctx), c.begun(term)
			cut := time.Now()
			for _, g := range ways(between) {
				g.shut()
			}
			began := <-begun
			w.more(t, 20) // the other one leads
			never, err := call(ctx, http.MethodPut, a.url+"/v1/mementos/entity/never",
				map[string]string{"Coordinator-Forward": "never"}, []byte("x"))
			if err != nil || never.status/100 == 2 {
				t.Errorf("write on a master that is cut off: %+v %v", never, err)
			}
			stop()
			last := acted()
			t.Logf("a acted until %s, the next term began %s after the cut", last.Sub(cut).Round(time.Millisecond), began.Sub(cut).Round(time.Millisecond))
			if !last.Before(began) {
				t.Errorf("a acted %s into the next term", last.Sub(began))
			}
			for _, g := range ways(between) {
				g.open()
			}
			c.led()
			w.more(t, 20)
			told := w.stop()
			found := c.judge(told...)
			if found.Written["entity/never"] > 0 {
				t.Error("a write that was refused is in the store")
			}
		})
	}
}

// Promise: a master that was frozen past its TTL and is asked to write at the very
// moment it wakes refuses, and nothing of it reaches the store.
func TestDeadline_WriteAtTheMomentOfWaking(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second)
	c.begin()
	a := c.nodes["a"]
	w := startWriters(t, 2, c.nodes["b"]) // those sent to a frozen node only wait
	w.more(t, 20)
	_, term := c.led()
	begun := c.begun(term)
	a.signal(syscall.SIGSTOP)
	<-begun
	var sent, answered sync.WaitGroup
	for i := range 20 {
		sent.Add(1)
		done := sync.OnceFunc(sent.Done) // a request may be sent once more
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { done() },
		})
		answered.Go(func() { // what is sent waits in the sockets of a until it wakes
			name := fmt.Sprintf("/v1/mementos/late/m%d", i)
			got, err := call(ctx, http.MethodPut, a.url+name, map[string]string{"Coordinator-Forward": "never"}, []byte(name))
			if err != nil || got.status/100 == 2 {
				t.Errorf("write of a master that woke too late: %+v %v", got, err)
			}
		})
	}
	sent.Wait()
	w.more(t, 20)
	a.signal(syscall.SIGCONT)
	answered.Wait()
	c.led()
	told := w.stop()
	found := c.judge(told...)
	for name := range found.Written {
		if strings.HasPrefix(name, "late/") {
			t.Errorf("%s is in the store", name)
		}
	}
}
