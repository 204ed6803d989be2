// This file tests a node's status, mode and priority.

package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// shown returns the node as GET /v1/node shows it.
func (n *peer) shown(t testing.TB) wire.Node {
	t.Helper()
	var shown wire.Node
	n.get(t, wire.PathNode).want(http.StatusOK).decode(&shown)
	return shown
}

func TestNode_ShowsItself(t *testing.T) {
	p := newPlane(t)
	began := time.Now().Add(-time.Second) // records have a resolution of milliseconds
	a := p.lead("a", func(cfg *coordinator.Config) { cfg.Priority, cfg.Version = -3, "1.2.3" })
	a.put(t, "entity/x", "12345").want(http.StatusCreated)
	got := a.shown(t)
	if got.PlaneID == "" || got.Instance == "" || got.Term < 1 || got.LeaseRemainingMS < 1 || got.LeaseRemainingMS > ttl.Milliseconds() {
		t.Errorf("plane id %q, instance %q, term %d, lease for %d ms", got.PlaneID, got.Instance, got.Term, got.LeaseRemainingMS)
	}
	if got.Started.Before(began) || got.Since.Before(got.Started) {
		t.Errorf("started %s, since %s, the test began %s", got.Started, got.Since, began)
	}
	if m := got.Mirror; m == nil || m.Revision < 1 || m.StalenessMS != 0 || m.Count != 1 || m.Bytes != int64(len("entity/x")+5) {
		t.Errorf("mirror = %+v", m)
	}
	if len(got.Transitions) < 2 || got.Transitions[0].To != modes.StateMaster ||
		got.Transitions[len(got.Transitions)-1].From != modes.StateInitializing {
		t.Errorf("transitions = %v, want the newest first", got.Transitions)
	}
	for i, tr := range got.Transitions[1:] {
		if tr.To != got.Transitions[i].From {
			t.Errorf("transitions %d and %d do not meet: %v", i, i+1, got.Transitions)
		}
	}
	want := wire.Node{
		ID: "a", Plane: "p", Mode: modes.Auto, State: modes.StateMaster, Priority: -3, Version: "1.2.3", URI: a.url,
		Instance: got.Instance, PlaneID: got.PlaneID, Started: got.Started, Since: got.Since, Term: got.Term,
		LeaseRemainingMS: got.LeaseRemainingMS, Mirror: got.Mirror, Transitions: got.Transitions,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestNode_ColdStandbyHasNoMirror(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.Standby, modes.StateStandby)
	b.sees(t, "a")
	if got := b.shown(t); got.Mirror != nil || got.State != modes.StateStandby || got.Term != a.shown(t).Term {
		t.Errorf("state %s, term %d, mirror %+v", got.State, got.Term, got.Mirror)
	}
}

func TestNode_FailedSaysWhyAndStartsAfresh(t *testing.T) {
	broken := errors.New("program is broken")
	p := newPlane(t)
	a := p.join("a", modes.Auto, modes.StateFailed, func(cfg *coordinator.Config) {
		cfg.Lead = func(context.Context, *coordinator.Leader) error { return broken }
	})
	if got := a.shown(t); !strings.Contains(got.LastError, "program is broken") {
		t.Errorf("last error = %q", got.LastError)
	}
	a.healthy(t, wire.PathReady, false)
	a.healthy(t, wire.PathLive, true)
	a.get(t, wire.PathMementos).refused(http.StatusServiceUnavailable, wire.KindNotReady)
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"hot_backup"}`).want(http.StatusOK).
		holds(`{"previous":{"mode":"auto","state":"FAILED"},"current":{"mode":"hot_backup","state":"HOT_BACKUP"}}` + "\n")
	if got := a.shown(t); got.LastError != "" {
		t.Errorf("started afresh, and last error = %q", got.LastError)
	}
}

// changed is the answer to a change of mode.
func changed(from modes.Mode, was modes.State, to modes.Mode, is modes.State) string {
	return fmt.Sprintf(`{"previous":{"mode":"%s","state":"%s"},"current":{"mode":"%s","state":"%s"}}`+"\n", from, was, to, is)
}

func TestMode_Changes(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	for _, step := range []struct{ ask, answer string }{
		{"hot_backup", changed(modes.HotStandby, modes.StateHotStandby, modes.HotBackup, modes.StateHotBackup)},
		{"hot_backup", changed(modes.HotBackup, modes.StateHotBackup, modes.HotBackup, modes.StateHotBackup)},
		{"Standby", changed(modes.HotBackup, modes.StateHotBackup, modes.Standby, modes.StateStandby)},
		{"HOT-STANDBY", changed(modes.Standby, modes.StateStandby, modes.HotStandby, modes.StateHotStandby)},
		{"auto", changed(modes.HotStandby, modes.StateHotStandby, modes.Auto, modes.StateHotStandby)},
	} {
		b.send(t, http.MethodPut, wire.PathMode, fmt.Sprintf(`{"mode":%q}`, step.ask)).want(http.StatusOK).holds(step.answer)
	}
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"master"}`).want(http.StatusOK).
		holds(changed(modes.Auto, modes.StateMaster, modes.Master, modes.StateMaster))
	b.await(t, modes.StateHotStandby) // a candidate again
	a.sees(t, "a", "b")
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"hot_backup"}`).want(http.StatusOK).
		holds(changed(modes.Master, modes.StateMaster, modes.HotBackup, modes.StateHotBackup))
	b.await(t, modes.StateMaster)
}

func TestMode_MasterIsRefusedWhileOneLives(t *testing.T) {
	p := newPlane(t)
	p.lead("a")
	for name, b := range map[string]*peer{
		"a hot standby": p.join("b", modes.HotStandby, modes.StateHotStandby),
		"a hot backup":  p.join("c", modes.HotBackup, modes.StateHotBackup),
		"a standby":     p.join("d", modes.Standby, modes.StateStandby),
	} {
		t.Run(name, func(t *testing.T) {
			before := b.shown(t)
			detail := string(b.send(t, http.MethodPut, wire.PathMode, `{"mode":"master"}`).refused(http.StatusConflict, wire.KindRefused).body)
			if !strings.Contains(detail, "node a is master") {
				t.Errorf("refusal does not name the master: %s", detail)
			}
			if after := b.shown(t); after.Mode != before.Mode || after.State != before.State {
				t.Errorf("refused, and now %s %s", after.Mode, after.State)
			}
		})
	}
}

func TestMode_ThatTakesLongGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		p.lead("a")
		b := p.join("b", modes.Standby, modes.StateStandby)
		p.store.Cut("b") // b cannot load
		began := time.Now()
		var got wire.ModeReply
		b.send(t, http.MethodPut, wire.PathMode, `{"mode":"hot_standby"}`).want(http.StatusAccepted).decode(&got)
		if took := time.Since(began); took != httpapi.ChangeTimeout {
			t.Errorf("answered after %s, want %s", took, httpapi.ChangeTimeout)
		}
		if got.Previous != (wire.ModeState{Mode: modes.Standby, State: modes.StateStandby}) || got.Current.Mode != modes.HotStandby || got.Current.State.Hot() {
			t.Errorf("answer = %+v", got)
		}
		p.store.Heal("b")
		b.await(t, modes.StateHotStandby)
	})
}

func TestPriority_Changes(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotStandby, modes.StateHotStandby)
	a.sees(t, "a", "b", "c")
	c.send(t, http.MethodPut, wire.PathPriority, `{"priority":5}`).want(http.StatusOK).holds(`{"previous":0,"current":5}` + "\n")
	a.sees(t, "a", "c", "b")
	c.send(t, http.MethodPut, wire.PathPriority, `{"priority":-1}`).want(http.StatusOK).holds(`{"previous":5,"current":-1}` + "\n")
	a.sees(t, "a", "b", "c")
	c.send(t, http.MethodPut, wire.PathPriority, `{"priority":0}`).want(http.StatusOK).holds(`{"previous":-1,"current":0}` + "\n")
	if got := b.shown(t); got.Priority != 0 || got.State != modes.StateHotStandby {
		t.Errorf("b has priority %d and is %s", got.Priority, got.State)
	}
}

// badControls are bodies that no operator's request accepts.
var badControls = map[string]struct {
	body, contentType string
	status            int
	kind              string
}{
	"nothing":               {"", "application/json", 400, wire.KindBadRequest},
	"no JSON":               {"{", "application/json", 400, wire.KindBadRequest},
	"a list":                {"[]", "application/json", 400, wire.KindBadRequest},
	"an unknown field":      {`{"mode":"auto","priority":1,"to":"b","level":"info","colour":"red"}`, "application/json", 400, wire.KindBadRequest},
	"numbers for all":       {`{"mode":1,"to":1,"priority":"1","level":1}`, "application/json", 400, wire.KindBadRequest},
	"plain text":            {`{}`, "text/plain", 415, wire.KindMediaType},
	"a form":                {`mode=auto`, "application/x-www-form-urlencoded", 415, wire.KindMediaType},
	"more than anyone says": {strings.Repeat(" ", httpapi.MaxControlBody) + "{}", "application/json", 413, wire.KindTooLarge},
}

func TestControls_BadBodies(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	a.sees(t, "a", "b")
	before := []wire.ModeState{{Mode: modes.Auto, State: modes.StateMaster}, {Mode: modes.HotStandby, State: modes.StateHotStandby}}
	for name, c := range badControls {
		t.Run(name, func(t *testing.T) {
			for target, method := range map[string]string{wire.PathMode: "PUT", wire.PathPriority: "PUT", wire.PathLogLevel: "PUT", wire.PathHandover: "POST"} {
				a.do(t, method, target, []byte(c.body), "Content-Type", c.contentType).refused(c.status, c.kind)
			}
		})
	}
	for target, bodies := range map[string][]string{
		wire.PathMode:     {`{"mode":"leader"}`, `{"mode":""}`, `{}`, `null`, `{"mode":"auto"}{"mode":"auto"}`, `{"mode":"hot__backup"}`},
		wire.PathLogLevel: {`{}`, `null`, `{"level":""}`, `{"level":"loud"}`, `{"level":"fatal"}`, `{"level":"info"}{"level":"info"}`},
		wire.PathPriority: {`{}`, `null`, `{"priority":null}`, `{"priority":1.5}`, `{"priority":1}{"priority":1}`, `{"priority":9223372036854775808}`},
	} {
		for _, body := range bodies {
			b.send(t, http.MethodPut, target, body).refused(http.StatusBadRequest, wire.KindBadRequest)
		}
	}
	a.send(t, http.MethodPost, wire.PathHandover, `{"to":"b"}{"to":"b"}`).refused(http.StatusBadRequest, wire.KindBadRequest)
	for i, n := range []*peer{a, b} {
		if got := n.shown(t); got.Mode != before[i].Mode || got.State != before[i].State || got.Priority != 0 {
			t.Errorf("%s is now %s %s of priority %d", n.id, got.Mode, got.State, got.Priority)
		}
	}
}

func TestControls_OfAStoppedNode(t *testing.T) {
	a := newPlane(t).lead("a")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"hot_backup"}`).refused(http.StatusServiceUnavailable, wire.KindNotReady)
	a.send(t, http.MethodPut, wire.PathPriority, `{"priority":1}`).refused(http.StatusServiceUnavailable, wire.KindNotReady)
	a.get(t, wire.PathMementos).refused(http.StatusServiceUnavailable, wire.KindNotReady)
	if got := a.shown(t); got.State != modes.StateTerminated || got.LeaseRemainingMS != 0 || got.Mirror != nil {
		t.Errorf("state %s, lease for %d ms, mirror %+v", got.State, got.LeaseRemainingMS, got.Mirror)
	}
}
