// This file tests the endpoints for supervisors and load balancers.

package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// healthy checks the answer of a health endpoint.
func (n *peer) healthy(t testing.TB, path string, ok bool) {
	t.Helper()
	if ok {
		n.get(t, path).want(http.StatusOK).holds(`{"ok":true}` + "\n")
		return
	}
	n.get(t, path).refused(http.StatusServiceUnavailable, wire.KindNotReady).has("Retry-After", "1")
}

// roles lists all roles, and the states in which a node has them.
var roles = map[string][]modes.State{
	"master":      {modes.StateMaster},
	"standby":     {modes.StateStandby},
	"hot_standby": {modes.StateHotStandby},
	"hot_backup":  {modes.StateHotBackup},
	"hot":         {modes.StateHotStandby, modes.StateHotBackup},
	"readable":    {modes.StateMaster, modes.StateHotStandby, modes.StateHotBackup},
	"promotable":  {modes.StateStandby, modes.StateHotStandby},
	"writable":    {modes.StateMaster},
}

func TestHealth_Roles(t *testing.T) {
	p := newPlane(t)
	for _, n := range []*peer{
		p.lead("a"),
		p.join("b", modes.HotStandby, modes.StateHotStandby),
		p.join("c", modes.HotBackup, modes.StateHotBackup),
		p.join("d", modes.Standby, modes.StateStandby),
	} {
		state := n.Status().State
		for role, states := range roles {
			t.Run(state.String()+" as "+role, func(t *testing.T) {
				has := false
				for _, s := range states {
					has = has || s == state
				}
				n.healthy(t, wire.PathRole+role, has)
			})
		}
		n.get(t, wire.PathRole+"leader").refused(http.StatusNotFound, wire.KindNotFound)
		n.get(t, wire.PathRole+"MASTER").refused(http.StatusNotFound, wire.KindNotFound)
		n.healthy(t, wire.PathLive, true)
		n.healthy(t, wire.PathReady, true)
	}
}

func TestHealth_Verbose(t *testing.T) {
	a := newPlane(t).lead("a")
	for path, names := range map[string][]string{
		wire.PathLive:            {"loop"},
		wire.PathReady:           {"state", "store", "running"},
		wire.PathRole + "master": {"master"},
	} {
		for _, query := range []string{"?verbose", "?verbose=1"} {
			var h wire.Health
			a.get(t, path+query).want(http.StatusOK).decode(&h)
			var got []string
			for _, c := range h.Checks {
				got = append(got, c.Name)
				if !c.OK || c.Reason == "" {
					t.Errorf("%s: check %s: ok = %t, reason = %q", path, c.Name, c.OK, c.Reason)
				}
			}
			if diff := cmp.Diff(names, got); diff != "" || !h.OK {
				t.Errorf("%s: ok = %t, checks (-want +got):\n%s", path+query, h.OK, diff)
			}
		}
	}
}

// A reason states a fact, whether the check passes or fails.
func TestHealth_ReasonsAreFacts(t *testing.T) {
	well := coordinator.Status{
		Record:         driver.Record{ID: "a", Mode: modes.Auto, State: modes.StateMaster, Started: time.Unix(0, 0).UTC()},
		LeaseRemaining: 3210 * time.Millisecond,
	}
	lapsed, stopping := well, well
	lapsed.LeaseRemaining = -time.Second
	stopping.Stopping = true
	for want, st := range map[string]coordinator.Status{
		"lease can be relied on for 3.2s":                    well,
		"has been running since 1970-01-01T00:00:00Z":        well,
		"state is MASTER":                                    well,
		"the store has not renewed the node's lease in time": lapsed,
		"the node is stopping":                               stopping,
	} {
		api := httpapi.New(httpapi.Config{Node: fakeNode{status: st}})
		t.Cleanup(api.Close)
		a := &peer{id: "a", api: api}
		body := string(a.get(t, wire.PathReady+"?verbose").body)
		if !strings.Contains(body, want) {
			t.Errorf("answer does not say %q: %s", want, body)
		}
	}
}

func TestHealth_NoMasterMakesNoNodeUnready(t *testing.T) {
	a := newPlane(t).join("a", modes.HotBackup, modes.StateHotBackup)
	a.healthy(t, wire.PathReady, true)
	a.healthy(t, wire.PathRole+"readable", true)
	a.healthy(t, wire.PathRole+"writable", false)
}

func TestHealth_InitializingIsAliveAndNotReady(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.store.Cut("a")
		a := p.start("a", modes.Auto)
		<-time.After(time.Minute) // restarting a node does not help when the store is away
		a.healthy(t, wire.PathLive, true)
		a.healthy(t, wire.PathReady, false)
		for role := range roles {
			a.healthy(t, wire.PathRole+role, false)
		}
		p.store.Heal("a")
		a.await(t, modes.StateMaster)
		a.healthy(t, wire.PathReady, true)
	})
}

func TestHealth_WithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		b := p.join("b", modes.HotBackup, modes.StateHotBackup)
		p.store.Cut("a")
		p.store.Cut("b")
		<-time.After(bubbleTTL)
		synctest.Wait()
		for _, n := range []*peer{a, b} {
			n.healthy(t, wire.PathLive, true)
			n.healthy(t, wire.PathReady, false)
			n.healthy(t, wire.PathRole+"readable", true) // increasingly stale, as the answer says
			n.healthy(t, wire.PathRole+"writable", false)
		}
		a.healthy(t, wire.PathRole+"master", false)
		p.store.Heal("a")
		p.store.Heal("b")
		a.await(t, modes.StateMaster)
		a.healthy(t, wire.PathReady, true)
	})
}

func TestHealth_StuckLoopIsNotAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		release := make(chan struct{})
		defer close(release)
		second := p.start("a", modes.Auto, func(cfg *coordinator.Config) {
			cfg.StillAlive = func(context.Context, driver.Record) bool { <-release; return true }
		})
		<-time.After(httpapi.LiveTimeout - time.Second)
		second.healthy(t, wire.PathLive, true)
		<-time.After(time.Second)
		second.healthy(t, wire.PathLive, false)
	})
}

// fakeNode is a node with a made-up status, for states that are too short to observe.
type fakeNode struct {
	httpapi.Node
	status coordinator.Status
}

func (n fakeNode) ID() string                 { return n.status.ID }
func (n fakeNode) Status() coordinator.Status { return n.status }

func TestHealth_ShortMoments(t *testing.T) {
	pose := func(state modes.State, change func(*coordinator.Status)) *peer {
		st := coordinator.Status{
			Record:         driver.Record{ID: "a", Mode: modes.Auto, State: state},
			LeaseRemaining: time.Second, Acting: state == modes.StateMaster,
		}
		change(&st)
		api := httpapi.New(httpapi.Config{Node: fakeNode{status: st}})
		t.Cleanup(api.Close)
		return &peer{id: "a", url: "http://localhost", api: api}
	}
	lapsed := pose(modes.StateMaster, func(st *coordinator.Status) { st.LeaseRemaining, st.Acting = -time.Second, false })
	lapsed.healthy(t, wire.PathRole+"master", false)
	lapsed.healthy(t, wire.PathRole+"writable", false)
	lapsed.healthy(t, wire.PathReady, false)
	if got := lapsed.shown(t).LeaseRemainingMS; got != 0 {
		t.Errorf("lease that lapsed is shown with %d ms to go", got)
	}
	stopping := pose(modes.StateMaster, func(st *coordinator.Status) { st.Stopping = true })
	stopping.healthy(t, wire.PathRole+"master", true)
	stopping.healthy(t, wire.PathReady, false)
	elected := pose(modes.StateInitializing, func(st *coordinator.Status) { st.InElection = true })
	elected.healthy(t, wire.PathRole+"promotable", false)
	left := pose(modes.StateHotStandby, func(st *coordinator.Status) { st.InElection = false })
	left.healthy(t, wire.PathRole+"promotable", false)
	left.healthy(t, wire.PathRole+"hot_standby", true)
}

func TestHealth_StoppedNodeIsNotReady(t *testing.T) {
	a := newPlane(t).lead("a")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	a.healthy(t, wire.PathReady, false)
	for role := range roles {
		a.healthy(t, wire.PathRole+role, false)
	}
	if detail := string(a.get(t, wire.PathReady).body); !strings.Contains(detail, "TERMINATED") {
		t.Errorf("answer does not name the state: %s", detail)
	}
}
