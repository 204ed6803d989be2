package coordinator_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// pair starts a master a and a hot standby b.
func pair(l *lab) (a, b *running) {
	a = l.start("a", modes.Auto)
	settle()
	b = l.start("b", modes.HotStandby)
	settle()
	l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
	return a, b
}

// left tells when the node last left the state MASTER.
func left(t *testing.T, n *running) time.Time {
	t.Helper()
	for _, tr := range n.Status().Transitions {
		if tr.From == modes.StateMaster {
			return tr.At
		}
	}
	t.Fatal("node never left MASTER")
	return time.Time{}
}

// What a master that is cut off is about to tell the store does not keep it from
// leaving its state in time.
func TestNode_CutOffMasterWithSomethingToTellEndsInTime(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		cut := time.Now()
		l.server.Cut("a")
		deadline := ttl - driver.Margin(ttl)
		pass(deadline - time.Second)
		if _, err := a.SetPriority(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		pass(ttl)
		if at := left(t, a).Sub(cut); at > deadline {
			t.Errorf("a says for %s after it was cut off that it leads, want at most %s", at, deadline)
		}
		l.server.Heal("a")
		settle()
	})
}

func TestNode_CutOffMasterEndsBeforeItsSuccessorBegins(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		put(t, a, "entity/x", "1")
		cut := time.Now()
		l.server.Cut("a")
		pass(ttl + time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateMaster})
		ended, began := left(t, a), b.Status().Since
		if !ended.Before(began) {
			t.Errorf("a led until %s, b from %s", ended, began)
		}
		if at := ended.Sub(cut); at > ttl-driver.Margin(ttl) {
			t.Errorf("a led for %s after it was cut off, want at most the TTL less the margin", at)
		}
		reading, err := a.Read()
		if err != nil {
			t.Fatalf("a hot node cut off serves no reads: %v", err)
		}
		if reading.Staleness < ttl-2*time.Second {
			t.Errorf("staleness %s after %s without the store", reading.Staleness, time.Since(cut))
		}
		put(t, b, "entity/x", "2")
		l.server.Heal("a")
		settle()
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateMaster})
		if reading, err = a.Read(); err != nil {
			t.Fatal(err)
		}
		if m, err := reading.View.Get("entity/x"); err != nil || string(m.Payload) != "2" {
			t.Errorf("healed node reads %v, %v", m, err)
		}
		h, err := b.History(t.Context())
		if err != nil || len(h) != 2 || h[0].Node != "b" || h[0].From != "a" || h[0].Reason != driver.ReasonFailover || h[0].GapMS == nil {
			t.Errorf("history = %+v, %v", h, err)
		}
	})
}

func TestNode_MasterLosesItsTermByHand(t *testing.T) {
	cases := map[string]func(*lab){
		"lease revoked":        func(l *lab) { l.server.Revoke("a") },
		"election key deleted": func(l *lab) { l.server.DeleteCandidate("a") },
		"term record deleted":  func(l *lab) { l.server.DeleteTerm() },
	}
	for name, fault := range cases {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, _ := pair(l)
				old := a.Status().Term
				fault(l)
				pass(2 * ttl)
				m := l.master()
				if m.Status().Term <= old {
					t.Errorf("term %d follows %d", m.Status().Term, old)
				}
				if m.Status().ID == "a" && name != "term record deleted" {
					t.Errorf("a took the term back, b was waiting for it")
				}
				put(t, m, "entity/x", "1")
			})
		})
	}
}

func TestNode_DeletedRecordIsPublishedAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		l.server.DeleteRecord("a")
		l.server.DeleteRecord("b")
		settle()
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		p, err := b.Plane(t.Context())
		if err != nil || len(p.Members) != 2 {
			t.Fatalf("members = %v, %v, want both again", p.Members, err)
		}
		if _, ok := p.Master(); !ok || p.Members[0].ID != "a" {
			t.Errorf("plane = %+v, want a as master", p)
		}
		_ = a
	})
}

// Whatever somebody has made of a node's record, on whatever lease, its owner puts it
// right, and nobody takes what is not on the master's lease for the master meanwhile.
func TestNode_ForgedRecordIsPutRight(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.start("c", modes.HotBackup)
		settle()
		want, err := l.nodes["c"].Plane(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var taken []string // for the master by c
		for _, suffix := range []string{"", "another", ""} {
			for _, m := range want.Members {
				lie := m.Record
				lie.URI, lie.Priority, lie.Next, lie.Instance = "http://elsewhere", 7, "c", m.Instance+suffix
				l.server.Forge(m.ID, lie)
				p := l.nodes["c"].CachedPlane()
				if master, ok := p.Master(); ok {
					taken = append(taken, master.URI)
				}
			}
			settle()
		}
		if slices.Contains(taken, "http://elsewhere") {
			t.Errorf("taken for the master: %v", taken)
		}
		got, err := l.nodes["c"].Plane(t.Context())
		if err != nil || len(got.Members) != len(want.Members) {
			t.Fatalf("members %v, %v, want %v", got.Members, err, want.Members)
		}
		for i := range got.Members {
			if got.Members[i] != want.Members[i] {
				t.Errorf("member is %+v, want it as it was: %+v", got.Members[i], want.Members[i])
			}
		}
		pass(2 * ttl) // the leases of what was forged have lapsed
		before := l.server.Revision()
		pass(time.Minute)
		if now := l.server.Revision(); now != before {
			t.Errorf("at rest the plane goes from revision %d to %d", before, now)
		}
	})
}

// blind is a store that, while it is held, shows nothing of its plane in which the node
// is, and the plane as it is when it is let go.
type blind struct {
	driver.Store
	held  *atomic.Bool
	letGo chan struct{}
}

func (s blind) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var letting sync.WaitGroup
	defer letting.Wait()
	letting.Go(func() {
		select {
		case <-s.letGo:
			cancel()
		case <-ctx.Done():
		}
	})
	return s.Store.FollowNear(ctx, node, func(p driver.NearPlane) {
		if _, there := p.Member("b"); !there || !s.held.Load() {
			see(p)
		}
	})
}

// A record that is deleted before its node has seen it is published again, too.
func TestNode_RecordDeletedUnseenIsPublishedAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		held, letGo := new(atomic.Bool), make(chan struct{}, 1)
		l.plane.Wrap = func(id string, s driver.Store) driver.Store { return blind{s, held, letGo} }
		l.start("b", modes.HotBackup)
		settle()
		held.Store(true)
		l.server.Revoke("b") // it joins again
		pass(ttl)
		l.server.DeleteRecord("b")
		held.Store(false)
		letGo <- struct{}{}
		pass(30 * time.Second)
		if p := l.nodes["a"].CachedPlane(); len(p.Members) != 2 {
			t.Errorf("members %v, want b among them", p.Members)
		}
	})
}

// The same of a lone master, to whom nothing else happens that would have it look again.
func TestNode_MastersRecordDeletedUnseenIsPublishedAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		held, letGo := new(atomic.Bool), make(chan struct{}, 1)
		l.plane.Wrap = func(id string, s driver.Store) driver.Store { return blind{s, held, letGo} }
		a := l.start("a", modes.Auto)
		settle()
		held.Store(true)
		if _, err := a.SetPriority(within(t, time.Minute), 7); err != nil {
			t.Fatal(err)
		}
		l.server.DeleteRecord("a")
		held.Store(false)
		letGo <- struct{}{}
		pass(30 * time.Second)
		p, err := l.server.Node("x").Plane(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := p.Member("a"); !ok || m.Priority != 7 {
			t.Errorf("the store has a as %+v, want its record", m)
		}
	})
}

func TestNode_StoreAwayLongerThanTTL(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.start("c", modes.HotBackup)
		l.start("d", modes.Standby)
		settle()
		for id := range l.nodes {
			l.server.Cut(id)
		}
		pass(3 * ttl)
		l.want(map[string]modes.State{
			"a": modes.StateHotStandby, "b": modes.StateHotStandby,
			"c": modes.StateHotBackup, "d": modes.StateStandby,
		})
		for id := range l.nodes {
			l.server.Heal(id)
		}
		pass(2*ttl + 5*time.Second)
		put(t, l.master(), "entity/x", "1")
		if l.states()["c"] != modes.StateHotBackup {
			t.Errorf("states = %v", l.states())
		}
	})
}

func TestNode_StoreAwayShorterThanTTLChangesNothing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		term := a.Status().Term
		for id := range l.nodes {
			l.server.Cut(id)
		}
		pass(2 * time.Second)
		for id := range l.nodes {
			l.server.Heal(id)
		}
		pass(2 * ttl)
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		if a.Status().Term != term {
			t.Errorf("term %d became %d", term, a.Status().Term)
		}
	})
}

func TestNode_WriteOfDeposedMasterIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		l.server.Cut("a")
		late := make(chan error, 1)
		go func() {
			_, err := a.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/x", Put: &rebind.Content{Payload: []byte("late")}}}})
			late <- err
		}()
		pass(ttl + time.Second)
		put(t, b, "entity/x", "new")
		l.server.Heal("a")
		err := <-late
		if !errors.Is(err, driver.ErrFenced) && !errors.Is(err, rebind.ErrUnavailable) {
			t.Errorf("late write = %v, want it refused", err)
		}
		settle()
		reading, err := a.Read()
		if err != nil {
			t.Fatal(err)
		}
		if m, err := reading.View.Get("entity/x"); err != nil || string(m.Payload) != "new" {
			t.Errorf("store has %v, %v", m, err)
		}
	})
}

func TestNode_ColdStandbyLoadsBeforeItLeads(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		for i := range 300 {
			put(t, a, "entity/"+string(rune('a'+i%26))+string(rune('a'+i/26)), "v")
		}
		b := l.start("b", modes.Standby)
		settle()
		l.server.Revoke("a")
		l.server.Cut("a")
		pass(ttl)
		if b.Status().State != modes.StateMaster {
			t.Fatalf("states = %v", l.states())
		}
		var seen []modes.State
		for _, tr := range b.Transitions() {
			seen = append(seen, tr.To)
		}
		want := []modes.State{modes.StateStandby, modes.StateInitializing, modes.StateMaster}
		if len(seen) != 3 || seen[0] != want[0] || seen[1] != want[1] || seen[2] != want[2] {
			t.Errorf("states of b = %v, want %v", seen, want)
		}
		if got := b.Status().Mirror.Count; got != 300 {
			t.Errorf("%d mementos, want 300", got)
		}
		h, err := b.History(t.Context())
		if err != nil || h[0].Mementos != 300 {
			t.Errorf("history = %+v, %v", h[0], err)
		}
	})
}

func TestNode_FullStore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		put(t, a, "entity/x", "1")
		l.server.Fill(true)
		pass(3 * ttl)
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		_, err := a.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/y", Put: &rebind.Content{}}}})
		if !errors.Is(err, driver.ErrStoreFull) {
			t.Errorf("put = %v, want ErrStoreFull", err)
		}
		if _, err := a.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/x"}}}); err != nil {
			t.Errorf("delete = %v, want nil", err)
		}
		l.server.Fill(false)
		put(t, a, "entity/y", "1")
	})
}
