package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Turns the nodes' logs into evidence. Nodes log each change of state, the end of accepting
// writes, and the sending of lease renewals that were answered; the kernel knows when they
// stood still and when they ended.

// entry is a line of a node's log, with the fields that matter here.
type entry struct {
	Time    time.Time `json:"ts"`
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	Term    int64     `json:"term"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Mode    string    `json:"mode"`
	Reason  string    `json:"reason"`
	Lease   int64     `json:"lease"`
	SentAgo string    `json:"sent_ago"`
	Error   string    `json:"error"`
}

// master is the state of the master, as spelled in logs.
const master = "MASTER"

// story is what one run of a node's program logged and went through.
type story struct {
	node   string
	began  time.Time // when the run of the laboratory began
	said   []entry
	stills []span        // when it stood still
	ended  time.Duration // 0 if it runs
}

// story returns what the process has logged so far.
func (p *Process) story() story {
	p.mu.Lock()
	defer p.mu.Unlock()
	return story{p.name, p.fleet.began, slices.Clone(p.said), slices.Clone(p.stills), p.ended}
}

// at is the time of a log line on the run's clock. Nodes log whole milliseconds.
func (s *story) at(e *entry) time.Duration { return e.Time.Sub(s.began.Round(0)) }

// tell adds the story to the evidence, as far as it is known now.
func (s *story) tell(run *evidence.Run, now time.Duration) {
	var term int64 // the term that it was elected for
	var act *evidence.Act
	end := func(at time.Duration) {
		if act != nil {
			act.To, act.Frozen = at, s.stoodStill(act.From, at)
			run.Acts = append(run.Acts, *act)
			act = nil
		}
	}
	for i := range s.said {
		e := &s.said[i]
		at := s.at(e)
		switch e.Message {
		case "elected":
			term = e.Term
		case "lease renewed":
			if ago, err := time.ParseDuration(e.SentAgo); err == nil {
				run.Leases = append(run.Leases, evidence.Lease{Node: s.node, ID: e.Lease, Sent: at - ago})
			}
		case "state changed":
			move := evidence.Move{Node: s.node, At: at, Mode: e.Mode, From: e.From, To: e.To, Why: e.Reason}
			if e.To == master {
				move.Term, act = term, &evidence.Act{Node: s.node, Term: term, From: at}
			} else if e.From == master {
				end(at)
			}
			run.Moves = append(run.Moves, move)
		case "writes are taken no more", "term is over":
			end(at)
		case "handover undone, leading on":
			act = &evidence.Act{Node: s.node, Term: term, From: at}
		}
	}
	if s.ended != 0 {
		now = s.ended
	}
	end(now)
}

// stoodStill reports whether it stood still at some time in a span.
func (s *story) stoodStill(from, to time.Duration) bool {
	return slices.ContainsFunc(s.stills, func(still span) bool {
		return still.from <= to && (still.to == 0 || still.to >= from)
	})
}

// alarming are words that no process may log, whatever is done to it.
var alarming = []string{"panic", "fatal error", "DATA RACE", "corrupt"}

// alarms finds alarming words in a log, in lines of JSON and in others.
func alarms(name string, log []byte) (found []string) {
	for line := range strings.Lines(string(log)) {
		var e entry
		level := ""
		if json.Unmarshal([]byte(line), &e) == nil {
			level = e.Level
		}
		bad := level == "panic" || level == "fatal" || level == "dpanic"
		for _, word := range alarming {
			bad = bad || strings.Contains(line, word)
		}
		if bad {
			found = append(found, fmt.Sprintf("%s says %.300s", name, strings.TrimSpace(line)))
		}
	}
	return found
}
