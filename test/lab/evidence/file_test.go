package evidence_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// kept is a run with something of each kind.
func kept() *evidence.Run {
	never := int64(0)
	return &evidence.Run{
		Layer: "bubble", Seed: 7, Root: "/p/", TTL: 6, Head: 9, Hands: []int64{3}, Enough: 1, Slack: 2, Alive: []string{"a"},
		Events: []evidence.Event{{Revision: 2, Key: "term", Value: []byte("x\x00\xff"), Created: 2, Version: 1}, {Revision: 3, Key: "term", Deleted: true}},
		Ops: []evidence.Op{
			{Client: "c", Outcome: evidence.OK, Revision: 4, Changes: []evidence.Change{{Name: "x", Payload: "one", If: &never}}},
			{Client: "c", Outcome: evidence.Unknown, Read: &evidence.Read{Name: "x", Latest: true}},
		},
		Moves:  []evidence.Move{{Node: "a", To: "MASTER", Term: 3}},
		Acts:   []evidence.Act{{Node: "a", Term: 3, To: 5, Frozen: true}},
		Leases: []evidence.Lease{{Node: "a", ID: 10, Sent: 4}},
		Copies: []evidence.Copy{{Node: "b", Revision: 4, Count: 1, Digest: "d"}},
		Faults: []evidence.Fault{{What: "kill", Target: "a", Disturbing: true, Limit: 8}},
	}
}

func TestSave_IsLoadedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	if err := kept().Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := evidence.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(kept(), again); diff != "" {
		t.Error(diff)
	}
}

// Wherever a file is cut, what was read is returned, with an error that says that the rest
// is missing.
func TestDecode_TellsWhatIsNotWhole(t *testing.T) {
	var whole bytes.Buffer
	if err := kept().Encode(&whole); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(whole.String(), "\n"); lines != 11 {
		t.Errorf("%d lines, want one for each of 9 items, one for the run and one for the end", lines)
	}
	for n := range whole.Len() - 1 { // the last byte is the end of the last line
		run, err := evidence.Decode(bytes.NewReader(whole.Bytes()[:n]))
		if !errors.Is(err, evidence.ErrCut) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		if run == nil {
			t.Fatalf("cut after %d bytes: no run", n)
		}
	}
	for _, text := range []string{`{"event":{}}`, `{"run":{}}{"lunch":1}`, `{"run":{}}nonsense`, `{"run":{}}{"run":{}}`} {
		if _, err := evidence.Decode(strings.NewReader(text)); err == nil || errors.Is(err, evidence.ErrCut) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
