package fleet

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// said makes a story of a node's log lines, a tenth of a second apart, the first at one.
func said(t *testing.T, began time.Time, lines ...string) story {
	t.Helper()
	s := story{node: "a", began: began}
	for i, line := range lines {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		e.Time = began.Add(time.Duration(i+1) * 100 * time.Millisecond)
		s.said = append(s.said, e)
	}
	return s
}

const (
	elected  = `{"msg":"elected","term":7}`
	leads    = `{"msg":"state changed","from":"HOT_STANDBY","to":"MASTER","mode":"auto","reason":"elected"}`
	holds    = `{"msg":"writes are taken no more","term":7}`
	leadsOn  = `{"msg":"handover undone, leading on"}`
	follows  = `{"msg":"state changed","from":"MASTER","to":"HOT_STANDBY","mode":"auto"}`
	renewed  = `{"msg":"lease renewed","lease":77,"sent_ago":"20ms"}`
	termOver = `{"msg":"term is over","term":7}`
)

const tenth = 100 * time.Millisecond

// Promise: a node acts from the time when it says that it leads until it says that it
// accepts no more writes, or has ended; a span in which it stood still is marked.
func TestStory_Acts(t *testing.T) {
	for name, c := range map[string]struct {
		lines  []string
		ended  time.Duration
		stills []span
		want   []evidence.Act
	}{
		"led and leads":  {lines: []string{elected, leads}, want: []evidence.Act{{From: 2 * tenth, To: time.Second}}},
		"was killed":     {lines: []string{elected, leads}, ended: 5 * tenth, want: []evidence.Act{{From: 2 * tenth, To: 5 * tenth}}},
		"handed over":    {lines: []string{elected, leads, holds, follows}, want: []evidence.Act{{From: 2 * tenth, To: 3 * tenth}}},
		"lost its lease": {lines: []string{elected, leads, renewed, termOver, follows}, want: []evidence.Act{{From: 2 * tenth, To: 4 * tenth}}},
		"kept what it was to hand over": {
			lines: []string{elected, leads, holds, leadsOn, follows},
			want:  []evidence.Act{{From: 2 * tenth, To: 3 * tenth}, {From: 4 * tenth, To: 5 * tenth}},
		},
		"stood still": {
			lines: []string{elected, leads, follows}, stills: []span{{from: 2*tenth + tenth/2, to: 2*tenth + tenth/2 + 1}},
			want: []evidence.Act{{From: 2 * tenth, To: 3 * tenth, Frozen: true}},
		},
		"stood still before": {
			lines: []string{elected, leads, follows}, stills: []span{{from: 0, to: tenth}},
			want: []evidence.Act{{From: 2 * tenth, To: 3 * tenth}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := said(t, time.Now(), c.lines...)
			s.ended, s.stills = c.ended, c.stills
			var run evidence.Run
			s.tell(&run, time.Second)
			for i := range c.want {
				c.want[i].Node, c.want[i].Term = "a", 7
			}
			if !slices.Equal(run.Acts, c.want) {
				t.Errorf("acts %+v, want %+v", run.Acts, c.want)
			}
		})
	}
}

func TestStory_MovesAndLeases(t *testing.T) {
	s := said(t, time.Now(), renewed, elected, leads, follows)
	var run evidence.Run
	s.tell(&run, time.Second)
	wantMoves := []evidence.Move{
		{Node: "a", At: 3 * tenth, Mode: "auto", From: "HOT_STANDBY", To: master, Term: 7, Why: "elected"},
		{Node: "a", At: 4 * tenth, Mode: "auto", From: master, To: "HOT_STANDBY"},
	}
	if !slices.Equal(run.Moves, wantMoves) {
		t.Errorf("moves %+v, want %+v", run.Moves, wantMoves)
	}
	if want := []evidence.Lease{{Node: "a", ID: 77, Sent: tenth - 20*time.Millisecond}}; !slices.Equal(run.Leases, want) {
		t.Errorf("leases %+v, want %+v", run.Leases, want)
	}
}

// Promise: a copy equals the listing, whether its payloads are JSON or not.
func TestReadCopy(t *testing.T) {
	c, err := readCopy([]byte(`{"revision":9,"items":[
		{"type":"entity","id":"x","mod_revision":4,"data":"json"},
		{"type":"entity","id":"y","mod_revision":5,"data_base64":"cGxhaW4="}]}`))
	want := evidence.Digest([]evidence.Memento{{Name: "entity/x", Payload: `"json"`, Modified: 4}, {Name: "entity/y", Payload: "plain", Modified: 5}})
	if err != nil || c.Revision != 9 || c.Count != 2 || c.Digest != want {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := readCopy([]byte(`{"revision":9,"next":"more"}`)); err == nil {
		t.Error("one page of several is taken for a copy")
	}
}
