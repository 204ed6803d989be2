// This file tests which nodes change the plane's keys for operators, and where requests are not
// forwarded.

package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// A hot_backup node writes only its own record. What an operator asks of it is forwarded to a
// node that may write, with or without a master.
func TestWriter_HotBackupPassesOn(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	b := p.join("b", modes.HotStandby, modes.StateHotStandby)
	c := p.join("c", modes.HotBackup, modes.StateHotBackup)
	c.sees(t, "a", "b")
	got := c.pause(t, `{"for_ms":600000}`)
	if got.Pause.By != "a" {
		t.Errorf("with a master it is paused by %s, want a", got.Pause.By)
	}
	c.resume(t)
	c.send(t, http.MethodPost, wire.PathPause, `{"for_ms":-1}`).refused(http.StatusBadRequest, wire.KindBadRequest)
	c.do(t, http.MethodPost, wire.PathPause, nil, wire.HeaderForward, wire.ForwardNever).refused(http.StatusMisdirectedRequest, wire.KindNotMaster)

	c.pause(t, "")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	c.sees(t, "", "b")
	c.do(t, http.MethodDelete, wire.PathLeft+"/a", nil).want(http.StatusOK)
	if got := c.pause(t, ""); got.Pause.By != "b" {
		t.Errorf("without a master it is paused by %s, want b", got.Pause.By)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	c.sees(t, "")
	why := c.do(t, http.MethodPost, wire.PathResume, nil)
	why.refused(http.StatusServiceUnavailable, wire.KindNoMaster)
	if !strings.Contains(string(why.body), "start one that could lead") {
		t.Errorf("refused with %s", why.body)
	}
}

// An attacker who copies the master's record to another lease and changes its address is sent
// nothing.
func TestForward_ForgedRecordGetsNothing(t *testing.T) {
	p := newPlane(t)
	a := p.lead("a")
	nodes := p.followers()
	var caught atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { caught.Add(1) }))
	defer thief.Close()
	seen, err := a.Plane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	master, _ := seen.Master()
	lie := master.Record
	lie.URI, lie.Instance = thief.URL, "thief"
	for range 5 {
		p.store.Forge("a", lie)
		for _, n := range nodes {
			got := n.put(t, "entity/x", "secret", "Authorization", "Bearer of-an-admin")
			if got.status != http.StatusOK && got.status != http.StatusCreated && got.status != http.StatusServiceUnavailable {
				t.Errorf("%s answers %d: %s", n.id, got.status, got.body)
			}
			n.do(t, http.MethodPost, wire.PathResume, nil, "Authorization", "Bearer of-an-admin")
		}
	}
	if n := caught.Load(); n != 0 {
		t.Errorf("who forged the record got %d requests", n)
	}
	for _, n := range nodes {
		n.sees(t, "a")
		n.put(t, "entity/x", "1").want(http.StatusOK)
	}
}
