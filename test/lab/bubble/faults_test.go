package bubble_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// execute performs one step and undoes it when its time is over or ctx ends, whichever
// comes first.
func (l *lab) execute(ctx context.Context, s *step) {
	f := evidence.Fault{What: s.What, From: l.record.now()}
	var undo func()
	switch {
	case s.Who == "":
		f.Target = "etcd"
		undo = l.general(ctx, s, &f)
	default:
		seat := l.who(s)
		if seat == nil {
			return
		}
		f.Target = seat.ID
		f.Disturbing, f.Recurring = l.holder() == seat.ID, s.For > 0
		undo = l.single(ctx, s, seat, &f)
	}
	if undo != nil {
		_ = wait(ctx, s.For)
		undo()
	}
	f.To = l.record.now()
	f.Disturbing = f.Disturbing || l.holder() == f.Target
	l.record.harmed(f)
}

// who is the node that a step is for; nil if there is none now.
func (l *lab) who(s *step) *seat {
	master := l.master()
	switch s.Who {
	case "master":
		if master == nil {
			return nil
		}
		return master.seat
	case "next":
		var others []*seat
		for _, seat := range l.seats {
			if p := seat.present(); p != master && p.up() != nil {
				others = append(others, seat)
			}
		}
		if len(others) == 0 {
			return nil
		}
		return others[s.More%len(others)]
	default:
		return l.seats[slices.IndexFunc(l.seats, func(seat *seat) bool { return seat.ID == s.Who })]
	}
}

// single performs a step on one node. It returns the func that undoes it, or nil.
func (l *lab) single(ctx context.Context, s *step, seat *seat, f *evidence.Fault) (undo func()) {
	p := seat.present()
	if p == nil {
		return nil
	}
	if r, ok := s.rule(); ok {
		return p.gate.impose(r)
	}
	node := p.up()
	switch s.What {
	case "break":
		p.gate.cut()
	case "flap":
		return l.flap(ctx, p, s)
	case "unread":
		return l.ignore(ctx, s, p)
	case "kill":
		seat.want(false)
		p.kill()
		return func() { seat.want(true) }
	case "stop":
		seat.want(false)
		p.cancel()
		return func() { seat.want(true) }
	case "program-slow", "program-hangs", "program-fails", "program-panics":
		return seat.spoil(s.What)
	case "revoke", "drop-candidate", "drop-record", "stray-candidate":
		l.byHand(ctx, s, seat, f)
	}
	if node != nil {
		l.order(ctx, s, node, f)
	}
	return nil
}

// rule is the network fault of a step, if it is one.
func (s *step) rule() (rule, bool) {
	switch s.What {
	case "cut":
		return rule{requests: true, answers: true}, true
	case "cut-requests":
		return rule{requests: true}, true
	case "cut-answers":
		return rule{answers: true}, true
	case "reject":
		return rule{refuse: true}, true
	case "slow":
		return rule{slow: time.Duration(1+s.More) * time.Millisecond}, true
	case "loss":
		return rule{loss: 0.3}, true
	case "starve":
		return rule{starve: true}, true
	case "mute":
		return rule{mute: true}, true
	case "only renewals":
		return rule{onlyRenewals: true}, true
	case "deny":
		keys := []string{"term", "election/", "history/", "nodes/", "meta", "handover"}
		return rule{deny: keys[s.More%len(keys)]}, true
	case "lose":
		few := 1 + s.More%3
		return rule{lose: &few}, true
	}
	return rule{}, false
}

// flap cuts and heals the connection alternately.
func (l *lab) flap(ctx context.Context, p *process, s *step) (undo func()) {
	ctx, cancel := context.WithTimeout(ctx, s.For)
	done := make(chan struct{})
	l.group.Go(func() {
		defer close(done)
		for ctx.Err() == nil {
			lift := p.gate.impose(rule{requests: true, answers: true})
			_ = wait(ctx, time.Duration(200+s.More)*time.Millisecond)
			lift()
			_ = wait(ctx, time.Duration(200+s.More)*time.Millisecond)
		}
	})
	return func() { cancel(); <-done }
}

// order performs an operator's request to a node.
func (l *lab) order(ctx context.Context, s *step, node *coordinator.Node, f *evidence.Fault) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	switch s.What {
	case "mode":
		to := []modes.Mode{modes.Auto, modes.Auto, modes.HotStandby, modes.Standby, modes.HotBackup, modes.Master, modes.Disabled}[s.More%7]
		f.Disturbing = true
		_, err := node.ChangeMode(ctx, to)
		f.Detail = fmt.Sprintf("to %s: %v", to, err)
	case "handover":
		f.Disturbing = true
		passed, err := node.Handover(ctx, "")
		f.Detail = fmt.Sprintf("to %s: %v", passed.To, err)
	case "priority":
		_, err := node.SetPriority(ctx, s.More%5-2)
		f.Detail = fmt.Sprintf("to %d: %v", s.More%5-2, err)
	}
}

// general performs a step on etcd or on the plane as a whole.
func (l *lab) general(ctx context.Context, s *step, f *evidence.Fault) (undo func()) {
	switch s.What {
	case "two-kills", "all-kills":
		f.Target, f.Disturbing = "plane", true
		return l.kills(s)
	case "pause":
		f.Target = "plane"
		return l.pause(ctx, s)
	case "drop-term", "edit-term", "stray":
		f.Target = l.holder()
		l.byHand(ctx, s, nil, f)
	case "etcd-restart":
		if !l.restarting.TryLock() {
			return nil
		}
		f.Disturbing = true
		l.etcd.stop()
		return func() {
			l.etcd.start()
			l.restarting.Unlock()
		}
	case "compact":
		l.compact(ctx, f)
	}
	return nil
}

// kills kills the master and its successor, or all nodes.
func (l *lab) kills(s *step) (undo func()) {
	victims := l.seats
	if master := l.master(); s.What == "two-kills" && master != nil {
		victims = []*seat{master.seat, l.who(&step{Who: "next", More: s.More})}
	}
	for _, seat := range victims {
		if seat == nil {
			continue
		}
		seat.want(false)
		if p := seat.present(); p != nil {
			p.kill()
		}
	}
	return func() {
		for _, seat := range victims {
			if seat != nil {
				seat.want(true)
			}
		}
	}
}

// pause pauses promotion.
func (l *lab) pause(ctx context.Context, s *step) (undo func()) {
	asked := func(do func(*coordinator.Node) error) {
		for _, seat := range l.seats {
			if node := seat.present().up(); node != nil && do(node) == nil {
				return
			}
		}
	}
	asked(func(n *coordinator.Node) error { _, err := n.Pause(ctx, s.For); return err })
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		asked(func(n *coordinator.Node) error { return n.Resume(ctx) })
	}
}

// compact drops the history, except what the observer may not have read.
func (l *lab) compact(ctx context.Context, f *evidence.Fault) {
	resp, err := l.raw.Get(ctx, root, clientv3.WithCountOnly())
	if err != nil || wait(ctx, time.Second) != nil {
		return
	}
	_, err = l.raw.Compact(ctx, resp.Header.Revision)
	f.Detail = fmt.Sprintf("at %d: %v", resp.Header.Revision, err)
}

// byHand changes keys behind the nodes' backs.
func (l *lab) byHand(ctx context.Context, s *step, seat *seat, f *evidence.Fault) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	f.Disturbing, f.Taken = s.What != "stray", s.What != "drop-record" && s.What != "stray"
	switch s.What {
	case "drop-term":
		l.drop(ctx, root+"term")
	case "edit-term":
		var t driver.Holder
		if resp, err := l.raw.Get(ctx, root+"term"); err != nil || len(resp.Kvs) == 0 || json.Unmarshal(resp.Kvs[0].Value, &t) != nil {
			return
		}
		resp, err := l.raw.Put(ctx, root+"term", fmt.Sprintf(`{"term":%d,"key":"elsewhere","node":"nobody"}`, t.Term))
		if err == nil {
			l.record.touched(resp.Header.Revision)
		}
	case "stray":
		l.stray(ctx, fmt.Sprintf("nobody-%d", s.More))
	case "stray-candidate":
		if lease := l.leaseOf(ctx, seat); lease != 0 {
			l.stray(ctx, id(lease))
		}
	case "drop-record":
		l.drop(ctx, root+"nodes/"+seat.ID)
	case "drop-candidate":
		if lease := l.leaseOf(ctx, seat); lease != 0 {
			l.drop(ctx, root+"election/"+id(lease))
		}
	case "revoke":
		if lease := l.leaseOf(ctx, seat); lease != 0 {
			_, _ = l.raw.Revoke(ctx, clientv3.LeaseID(lease))
		}
	}
}

func (l *lab) drop(ctx context.Context, key string) {
	if resp, err := l.raw.Delete(ctx, key); err == nil && resp.Deleted > 0 {
		l.record.touched(resp.Header.Revision)
	}
}

// stray puts a key without a lease into the election, or detaches one from its lease.
func (l *lab) stray(ctx context.Context, key string) {
	if resp, err := l.raw.Put(ctx, root+"election/"+key, "nobody"); err == nil {
		l.record.touched(resp.Header.Revision)
	}
}

// leaseOf is the lease of a node's record; 0 if it has none.
func (l *lab) leaseOf(ctx context.Context, seat *seat) int64 {
	resp, err := l.raw.Get(ctx, root+"nodes/"+seat.ID)
	if err != nil || len(resp.Kvs) == 0 {
		return 0
	}
	return resp.Kvs[0].Lease
}

// holder is the node that holds the last term according to the store.
func (l *lab) holder() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var t driver.Holder
	resp, err := l.raw.Get(ctx, root+"term")
	if err == nil && len(resp.Kvs) == 1 {
		_ = json.Unmarshal(resp.Kvs[0].Value, &t)
	}
	return t.Node
}
