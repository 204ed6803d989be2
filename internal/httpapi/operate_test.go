// This file tests pause, dry runs of a handover, and disabled nodes.

package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// pause pauses the plane.
func (n *peer) pause(t testing.TB, body string) wire.PauseReply {
	t.Helper()
	var got wire.PauseReply
	n.send(t, http.MethodPost, wire.PathPause, body).want(http.StatusOK).decode(&got)
	return got
}

// resume ends the pause.
func (n *peer) resume(t testing.TB) {
	t.Helper()
	n.do(t, http.MethodPost, wire.PathResume, nil).want(http.StatusOK).holds(`{"paused":false,"pause":null}` + "\n")
}

func TestPause_IsShownEverywhereAndKeepsAll(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	a.sees(t, "a", "b")
	got := b.pause(t, `{"for_ms":600000}`)
	if !got.Paused || got.Pause.By != "b" || got.Pause.Until == nil || got.Pause.Until.Sub(got.Pause.Since) != 10*time.Minute {
		t.Errorf("pause = %+v", got)
	}
	for _, n := range []*peer{a, b} {
		shown := n.plane(t)
		if !shown.Paused || shown.Pause == nil || !shown.Pause.Since.Equal(got.Pause.Since) || idOf(shown.Next) != "b" {
			t.Errorf("%s shows paused %t, pause %+v, next %s", n.id, shown.Paused, shown.Pause, idOf(shown.Next))
		}
	}
	b.seesPause(t, true)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	b.sees(t, "", "b")
	b.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster)
	b.await(t, modes.StateHotStandby)
	b.resume(t)
	b.await(t, modes.StateMaster)
	if shown := b.plane(t); shown.Paused || shown.Pause != nil {
		t.Errorf("resumed, and paused %t, pause %+v", shown.Paused, shown.Pause)
	}
	b.resume(t) // without a pause it changes nothing
}

// seesPause waits until the node's own picture of the plane is paused, or is not.
func (n *peer) seesPause(t testing.TB, paused bool) {
	t.Helper()
	eventually(t, func() error {
		if p := n.CachedPlane(); (p.Pause != nil) != paused {
			return fmt.Errorf("%s sees the pause %+v", n.id, p.Pause)
		}
		return nil
	})
}

func TestPause_EndsByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		a.pause(t, `{"for_ms":5000}`)
		<-time.After(5*time.Second - time.Millisecond)
		synctest.Wait()
		if !a.plane(t).Paused {
			t.Error("the pause has ended too early")
		}
		<-time.After(time.Second)
		synctest.Wait()
		if a.plane(t).Paused {
			t.Error("the pause does not end")
		}
	})
}

func TestPause_Bodies(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	for _, body := range []string{"", "{}", `{"for_ms":0}`} {
		if got := a.pause(t, body); !got.Paused || got.Pause.Until != nil {
			t.Errorf("%q: pause %+v, want one that lasts", body, got.Pause)
		}
	}
	a.resume(t)
	for body, kind := range map[string]string{
		`{"for_ms":-1}`: wire.KindBadRequest, `{"for_ms":31536000001}`: wire.KindBadRequest,
		`{"for_ms":9223372036854775807}`: wire.KindBadRequest, `{"for_ms":1e400}`: wire.KindBadRequest,
		`{"for_ms":1.5}`: wire.KindBadRequest, `{"for_ms":"10m"}`: wire.KindBadRequest, `{"for":"10m"}`: wire.KindBadRequest,
		`{`: wire.KindBadRequest, `[]`: wire.KindBadRequest, `{}{}`: wire.KindBadRequest,
	} {
		a.send(t, http.MethodPost, wire.PathPause, body).refused(http.StatusBadRequest, kind)
	}
	for _, target := range []string{wire.PathPause, wire.PathResume} {
		a.do(t, http.MethodPost, target, []byte("x"), "Content-Type", "text/plain").refused(http.StatusUnsupportedMediaType, wire.KindMediaType)
		big := strings.Repeat(" ", httpapi.MaxControlBody) + "{}"
		a.send(t, http.MethodPost, target, big).refused(http.StatusRequestEntityTooLarge, wire.KindTooLarge)
	}
	a.send(t, http.MethodPost, wire.PathResume, `{"for_ms":1}`).refused(http.StatusBadRequest, wire.KindBadRequest)
	a.send(t, http.MethodPost, wire.PathResume, `{}`).want(http.StatusOK)
	if a.plane(t).Paused {
		t.Error("a refused request has paused the plane")
	}
}

func TestPause_WithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.lead("a")
		p.store.Cut("a")
		a.send(t, http.MethodPost, wire.PathPause, `{}`).refused(http.StatusServiceUnavailable, wire.KindStore)
		a.send(t, http.MethodPost, wire.PathResume, `{}`).refused(http.StatusServiceUnavailable, wire.KindStore)
		a.do(t, http.MethodDelete, wire.PathLeft+"/b", nil).refused(http.StatusServiceUnavailable, wire.KindStore)
	})
}

func TestLeft_IsShownAndForgotten(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.Standby, modes.StateStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*peer{a, c} {
		left := n.plane(t).Left
		if len(left) != 1 || left[0].ID != "b" || left[0].State != modes.StateTerminated || left[0].Was != modes.StateStandby ||
			left[0].How != driver.DepartureStopped || time.Since(left[0].At).Abs() > waitLimit {
			t.Errorf("%s shows as left: %+v", n.id, left)
		}
	}
	path := wire.PathLeft + "/"
	c.do(t, http.MethodDelete, path+"c", nil).refused(http.StatusConflict, wire.KindRefused)
	c.do(t, http.MethodDelete, path+"nobody", nil).refused(http.StatusNotFound, wire.KindNotFound)
	for _, id := range []string{"", ".", "..", "%2e%2e", "b/", "b%2F", "b/c", "b%20c", "%C3%A9", strings.Repeat("x", 65)} {
		c.do(t, http.MethodDelete, path+id, nil).refused(http.StatusBadRequest, wire.KindBadRequest)
		c.do(t, http.MethodDelete, "/v1/pl%61ne/%6ceft/"+id, nil).refused(http.StatusBadRequest, wire.KindBadRequest)
	}
	c.do(t, http.MethodDelete, path+"b", nil).want(http.StatusOK).holds(`{"forgotten":"b"}` + "\n")
	c.do(t, http.MethodDelete, path+"b", nil).refused(http.StatusNotFound, wire.KindNotFound)
	if left := a.plane(t).Left; len(left) != 0 {
		t.Errorf("forgotten, and shown as left: %+v", left)
	}
}

// dryRun requests a dry run of a handover and lists the checks that fail.
func (n *peer) dryRun(t testing.TB, to string) (ok bool, failed string) {
	t.Helper()
	var got wire.DryRunReply
	n.send(t, http.MethodPost, wire.PathHandover, fmt.Sprintf(`{"to":%q,"dry_run":true}`, to)).want(http.StatusOK).decode(&got)
	if len(got.Checks) < 7 {
		t.Errorf("dry run to %q has the checks %+v", to, got.Checks)
	}
	for _, c := range got.Checks {
		if c.Reason == "" {
			t.Errorf("check %s gives no reason", c.Name)
		}
		if !c.OK {
			failed += fmt.Sprintf("%s: %s\n", c.Name, c.Reason)
		}
	}
	return got.OK, failed
}

func TestHandover_DryRunTellsAndChangesNothing(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	a.sees(t, "a", "b")
	c.sees(t, "a", "b")
	before := a.plane(t)
	for _, n := range []*peer{a, c} { // c forwards it
		for _, to := range []string{"", "b"} {
			if ok, failed := n.dryRun(t, to); !ok || failed != "" {
				t.Errorf("asked of %s for %q: ok %t, failed %s", n.id, to, ok, failed)
			}
		}
		for to, reason := range map[string]string{"c": "never promoted", "a": "leads already", "z": "no live node z"} {
			if ok, failed := n.dryRun(t, to); ok || !strings.Contains(failed, reason) {
				t.Errorf("asked of %s for %q: ok %t, failed %s, want %q", n.id, to, ok, failed, reason)
			}
		}
	}
	if after := a.plane(t); after.Term != before.Term || after.Revision != before.Revision {
		t.Errorf("term %d at revision %d, before the dry runs %d at %d", after.Term, after.Revision, before.Term, before.Revision)
	}
	p.store.Fill(true)
	if got := c.plane(t); !strings.Contains(got.StoreError, "store is full") || idOf(got.Master) != "a" || got.Revision == 0 {
		t.Errorf("with the store full: store error %q, master %s", got.StoreError, idOf(got.Master))
	}
	if ok, failed := a.dryRun(t, "b"); ok || !strings.Contains(failed, "store is full") {
		t.Errorf("with the store full: ok %t, failed %s", ok, failed)
	}
}

func TestHandover_DryRunNeedsAMaster(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.join("a", modes.HotBackup, modes.StateHotBackup)
		a.send(t, http.MethodPost, wire.PathHandover, `{"dry_run":true}`).refused(http.StatusServiceUnavailable, wire.KindNoMaster)
	})
}

func TestDisabled_IsMasterOfItselfAlone(t *testing.T) {
	p := newPlane(t)
	a := p.join("a", modes.Disabled, modes.StateMaster)
	shown := a.plane(t)
	want := driver.Guard{Node: "a", URI: a.url}
	if shown.Master != nil || shown.Next != nil || len(shown.Nodes) != 0 || shown.Exclusive == nil || *shown.Exclusive != want {
		t.Errorf("master %s, next %s, nodes %v, exclusive %+v", idOf(shown.Master), idOf(shown.Next), shown.Nodes, shown.Exclusive)
	}
	if shown.FormerExclusive == nil || *shown.FormerExclusive != want {
		t.Errorf("under its former name: %+v, want %+v", shown.FormerExclusive, want)
	}
	if n := a.shown(t); n.Term < 1 || n.PlaneID == "" || n.LeaseRemainingMS < 1 {
		t.Errorf("term %d, plane id %q, lease for %d ms", n.Term, n.PlaneID, n.LeaseRemainingMS)
	}
	a.put(t, "entity/x", "1").want(http.StatusCreated)
	a.get(t, at("entity/x")).want(http.StatusOK).holds("1")
	a.del(t, "entity/x").want(http.StatusNoContent)
	a.get(t, wire.PathRole+"writable").want(http.StatusOK)

	for path, body := range map[string]string{wire.PathPause: `{}`, wire.PathHandover: `{"to":"b"}`} {
		a.send(t, http.MethodPost, path, body).refused(http.StatusConflict, wire.KindRefused)
	}
	a.send(t, http.MethodPost, wire.PathHandover, `{}`).refused(http.StatusConflict, wire.KindRefused)
	a.send(t, http.MethodPost, wire.PathHandover, `{"dry_run":true}`).refused(http.StatusConflict, wire.KindRefused)
	for _, mode := range modes.Modes() {
		if mode == modes.Disabled {
			continue // its present mode
		}
		a.send(t, http.MethodPut, wire.PathMode, fmt.Sprintf(`{"mode":%q}`, mode)).refused(http.StatusConflict, wire.KindRefused)
	}
	a.resume(t)
	a.await(t, modes.StateMaster)

	b := p.start("b", modes.Auto)
	eventually(t, func() error {
		if st := b.Status(); st.State != modes.StateTerminated {
			return fmt.Errorf("b is %s beside a disabled node", st.State)
		}
		return nil
	})
	if err := b.stop(); !errors.Is(err, driver.ErrExclusive) {
		t.Errorf("b ended with %v", err)
	}
}

func TestDisabled_WithoutItsGuardIsFailedAndSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, p *plane) {
		a := p.join("a", modes.Disabled, modes.StateMaster)
		p.store.Cut("a")
		a.await(t, modes.StateFailed)
		if n := a.shown(t); !strings.Contains(n.LastError, "lease is lost") || n.LeaseRemainingMS != 0 {
			t.Errorf("last error %q, lease for %d ms", n.LastError, n.LeaseRemainingMS)
		}
		a.put(t, "entity/x", "1").refused(http.StatusServiceUnavailable, wire.KindNoMaster)
		a.send(t, http.MethodPut, wire.PathMode, `{"mode":"auto"}`).refused(http.StatusConflict, wire.KindRefused)
	})
}

func TestDisabled_AtRunTimeIsFailedAndSaysWhy(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"disabled"}`).want(http.StatusOK).
		holds(changed(modes.Auto, modes.StateMaster, modes.Disabled, modes.StateFailed))
	if n := a.shown(t); n.State != modes.StateFailed || !strings.Contains(n.LastError, "disabled") {
		t.Errorf("state %s, last error %q", n.State, n.LastError)
	}
	if shown := a.plane(t); shown.Master != nil || shown.Exclusive != nil || shown.FormerExclusive != nil || len(shown.Nodes) != 0 {
		t.Errorf("plane %+v", shown)
	}
	a.send(t, http.MethodPut, wire.PathMode, `{"mode":"auto"}`).want(http.StatusOK)
	a.await(t, modes.StateMaster)
}
