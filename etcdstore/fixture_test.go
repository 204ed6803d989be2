package etcdstore_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: a plane as the first version stored it is read in full, for ever.
func TestFixture_IsReadInFull(t *testing.T) {
	l := newFormatLab(t)
	l.restore(readFixture(t, "shared"))
	p, err := l.node("reader").Plane(l.ctx())
	l.must(err)
	offer := offerOfOld()
	if p.ID != "PLANEOFOLD" || p.Format != 1 || p.Holder.Node != "a" || p.Holder.Term == 0 || p.Holder.Since.IsZero() || !p.Held {
		t.Errorf("plane = %+v", p)
	}
	offer.Made = p.Offer.Made // no part of the value
	if diff := cmp.Diff(&offer, p.Offer); diff != "" {
		t.Errorf("handover (-kept +read):\n%s", diff)
	}
	// It was over when its day had passed.
	if p.Pause != nil {
		t.Errorf("pause = %+v", p.Pause)
	}
	var pause driver.Pause
	l.must(json.Unmarshal(l.get(l.key("pause")).Kvs[0].Value, &pause))
	if !pause.Since.Equal(longAgo) || !pause.Over(time.Now()) || pause.By != "a" {
		t.Errorf("pause = %+v", pause)
	}
	var members []driver.Record
	for _, m := range p.Members {
		members = append(members, m.Record)
		if m.Candidacy == 0 {
			t.Errorf("%s is not in the election", m.ID)
		}
	}
	if diff := cmp.Diff([]driver.Record{recordOfOld("a", modes.StateMaster), recordOfOld("b", modes.StateHotStandby)}, members); diff != "" {
		t.Errorf("records (-kept +read):\n%s", diff)
	}
	left := []driver.Departed{leftOfOld("c", driver.DepartureStopped), leftOfOld("d", driver.DepartureLost)}
	if diff := cmp.Diff(left, p.Departed); diff != "" {
		t.Errorf("those who left (-kept +read):\n%s", diff)
	}
	history, err := l.node("reader").History(l.ctx())
	l.must(err)
	if diff := cmp.Diff([]driver.HistoryEntry{historyOfOld()}, history); diff != "" {
		t.Errorf("history (-kept +read):\n%s", diff)
	}
}

// Promise: the guard of the first version keeps others out as today's does.
func TestFixture_GuardKeepsOthersOut(t *testing.T) {
	l := newFormatLab(t)
	l.restore(readFixture(t, "exclusive"))
	p, err := l.node("b").Plane(l.ctx())
	l.must(err)
	if want := (driver.Guard{Node: "a", URI: "http://a:7400"}); p.Exclusive == nil || *p.Exclusive != want {
		t.Errorf("exclusive = %+v, want %+v", p.Exclusive, want)
	}
	if m, err := l.node("b").Join(l.ctx(), recordOf("b")); err == nil {
		t.Errorf("b joins: %v", m)
	}
	l.DeleteGuard()
	l.leads(0)
}

// Promise: in a plane as the first version stored it a node leads, in a higher term,
// with every memento as it was.
func TestFixture_IsLed(t *testing.T) {
	l := newFormatLab(t)
	cells := readFixture(t, "shared")
	l.restore(cells)
	p, err := l.node("n").Plane(l.ctx())
	l.must(err)
	l.must(l.node("n").Resume(l.ctx()))
	for _, c := range cells {
		if c.Lease != 0 { // its processes end
			_, _ = l.raw.Revoke(l.ctx(), clientv3.LeaseID(c.Lease))
		}
	}
	l.leads(p.Holder.Term)
	history, err := l.node("n").History(l.ctx())
	l.must(err)
	if len(history) != 2 || history[0].Node != "n" {
		t.Errorf("history = %+v, want an entry of n's before the kept one", history)
	}
}

// leads has a node lead the plane in a term after the given one, holds its state
// against the fixtures', and stops it.
func (l *lab) leads(after int64) {
	l.t.Helper()
	leading := make(chan *coordinator.Leader, 1)
	node, err := coordinator.New(coordinator.Config{
		ID: "n", Plane: "p", URI: "http://n", Version: "1.0.0", Mode: modes.Auto, Logger: zap.NewNop(),
		Lead: func(ctx context.Context, ld *coordinator.Leader) error {
			leading <- ld
			<-ctx.Done()
			return nil
		},
	}, l.node("n"))
	l.must(err)
	ctx, stop := context.WithCancel(l.ctx())
	var running sync.WaitGroup
	running.Go(func() {
		if err := node.Run(ctx); err != nil {
			l.t.Errorf("n ends with %v", err)
		}
	})
	defer func() { stop(); running.Wait() }()
	var ld *coordinator.Leader
	select {
	case ld = <-leading:
	case <-time.After(8 * time.Second):
		l.t.Fatalf("n does not lead: %+v", node.Status())
	}
	if ld.Term() <= after {
		l.t.Errorf("term %d follows %d", ld.Term(), after)
	}
	found := make(map[rebind.Name]rebind.Content)
	for m := range ld.View().From("") {
		found[m.Name] = m.Content
	}
	if diff := cmp.Diff(stateOfOld(), found); diff != "" || ld.View().FaultCount() != 0 {
		l.t.Errorf("%d in quarantine, and mementos (-kept +read):\n%s", ld.View().FaultCount(), diff)
	}
	if _, err := ld.Commit(l.ctx(), rebind.Delta{Ops: []rebind.Op{put("entity/plain", "new"), {Name: "policy/max"}}}); err != nil {
		l.t.Errorf("the old state does not take new: %v", err)
	}
}
