package etcdstore_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
)

// slowly is a watcher that tells of the term record later than of anything else.
type slowly struct {
	clientv3.Watcher
	late  time.Duration
	group *sync.WaitGroup
}

func (w slowly) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	events := w.Watcher.Watch(ctx, key, opts...)
	if !strings.HasSuffix(key, "/term") {
		return events
	}
	late := make(chan clientv3.WatchResponse)
	w.group.Go(func() {
		defer close(late)
		for resp := range events {
			select {
			case <-time.After(w.late):
			case <-ctx.Done():
				return
			}
			select {
			case late <- resp:
			case <-ctx.Done():
				return
			}
		}
	})
	return late
}

// A handover ends its target's wait in the queue. The target may hear of that before it
// hears that the term is its own, and must not give the key away that has it.
func TestCampaign_DeferringGivesNoTermAway(t *testing.T) {
	var watches sync.WaitGroup
	t.Cleanup(watches.Wait) // after the stores are closed
	l := newLab(t)
	term := l.elect(l.join("a"))
	b := l.join("b")
	etcdstore.SetWatcher(l.node("b"), func(w clientv3.Watcher) clientv3.Watcher { return slowly{w, 200 * time.Millisecond, &watches} })
	var asked atomic.Int64
	polite := storetest.Candidate{Defer: func(int64) bool { return asked.Add(1) == 1 }}
	var next driver.Term
	var campaign sync.WaitGroup
	campaign.Go(func() {
		var err error
		next, err = polite.Lead(l.t.Context(), b)
		if err != nil {
			t.Error(err)
		}
	})
	var to driver.Member
	l.eventually("b stands in the election", func() bool {
		p, err := l.node("c").Plane(l.ctx())
		l.must(err)
		to, _ = p.Member("b")
		return to.Candidacy != 0
	})
	<-time.After(500 * time.Millisecond) // and waits there
	l.must(term.Offer(l.ctx(), &driver.Offer{ID: "h", From: "a", To: "b", Until: time.Now().Add(time.Minute)}))
	l.must(term.Pass(l.ctx(), to, recordOf("a")))
	campaign.Wait()
	if next == nil || next.Number() != max(int64(to.Candidacy), term.Number()+1) {
		t.Fatalf("b leads %v, want the term that it was given", next)
	}
	if asked.Load() == 0 {
		t.Error("b was not asked to defer, so nothing is shown")
	}
}

// A step out of turn whose transaction is lost is made again: nothing else would wake
// the candidate.
func TestCampaign_StepForwardOutlivesALostRequest(t *testing.T) {
	l := newLab(t)
	stands := func(id string) {
		l.eventually(id+" stands in the election", func() bool {
			p, err := l.node("c").Plane(l.ctx())
			l.must(err)
			m, _ := p.Member(id)
			return m.Candidacy != 0
		})
	}
	ctx, cancel := context.WithCancel(l.ctx())
	var campaign sync.WaitGroup
	defer campaign.Wait()
	defer cancel()
	a := l.join("a")
	campaign.Go(func() {
		_, _ = storetest.Candidate{Decide: func(driver.Plane) storetest.Decision { return storetest.Hold }}.Lead(ctx, a)
	})
	stands("a")
	forward, won := make(chan struct{}, 1), make(chan driver.Term, 1)
	w, b := l.badWire("b"), l.join("b")
	as := storetest.Candidate{Forward: forward}
	campaign.Go(func() {
		term, _ := as.Lead(ctx, b)
		won <- term
	})
	stands("b")
	var lost atomic.Bool
	w.next(loseRequest, func() { lost.Store(true) })
	forward <- struct{}{}
	if term := <-won; term == nil {
		t.Error("b has not begun the term")
	}
	if !lost.Load() {
		t.Error("no request was lost, so nothing is shown")
	}
}
