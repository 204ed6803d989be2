package etcdstore_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// testdata/format1 holds planes as the first version of the program stored them, key
// by key. They are read for ever: nobody changes them.

var writeFormat = flag.String("write-format", "", "write planes as they are stored today into this directory, for a format that is added")

// cell is one stored key. Its value is a text, or bytes where it is none.
type cell struct {
	Key   string `json:"key"`
	Text  string `json:"text,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
	Lease int64  `json:"lease,omitempty"`
}

func (c *cell) value() string { return c.Text + string(c.Bytes) }

// The plane of a fixture, on whichever etcd.
const formatPrefix = "/format1"

var longAgo = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// stateOfOld is what the fixtures' mementos say.
func stateOfOld() map[rebind.Name]rebind.Content {
	every := make([]byte, 0, 1024)
	for i := range cap(every) {
		every = append(every, byte(i))
	}
	return map[rebind.Name]rebind.Content{
		"entity/plain":            {Payload: []byte("hello\n")},
		"entity/empty":            {Payload: []byte{}},
		"entity/line-break_first": {Payload: []byte("\nmemento/1 node=x\n")},
		"entity/Every.byte~1":     {ContentType: "application/octet-stream", Payload: every},
		"policy/full": {
			Parent: "entity/plain", ContentType: "text/plain; charset=utf-8", Schema: 3, Payload: []byte("line one\nline two"),
		},
		"policy/json": {Parent: "type-that-is_not/there", ContentType: "application/json", Payload: []byte(`{"any": "payload"}`)},
		"policy/max":  {Schema: 1<<63 - 1, Payload: bytes.Repeat([]byte("0123456789abcde\n"), 4096)},
	}
}

// recordOfOld has every field of a record.
func recordOfOld(id string, state modes.State) driver.Record {
	return driver.Record{
		ID: id, Plane: "p", PlaneID: "PLANEOFOLD", Instance: "i-" + id, Mode: modes.Auto, State: state,
		Priority: 7, Version: "1.0.0", URI: "http://" + id + ":7400", Started: longAgo, Since: longAgo.Add(time.Second),
		Term: 11, LastError: "none \"yet\"", ReadyFor: "h1", GaveUp: 9, GaveUpFor: driver.ReasonDemotion,
	}
}

func historyOfOld() driver.HistoryEntry {
	gap := int64(12)
	return driver.HistoryEntry{
		Term: 11, Node: "a", From: "z", Reason: driver.ReasonFailover, Since: longAgo, GapMS: &gap, RebindMS: 34, Mementos: 7,
	}
}

func leftOfOld(id string, how driver.Departure) driver.Departed {
	return driver.Departed{Record: recordOfOld(id, modes.StateTerminated), Was: modes.StateHotBackup, At: longAgo, How: how}
}

func offerOfOld() driver.Offer {
	return driver.Offer{ID: "h1", From: "a", To: "b", Until: longAgo.Add(time.Minute), Revision: 5}
}

// newFormatLab is a lab whose plane is where the fixtures' is, and empty.
func newFormatLab(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.prefix = formatPrefix
	_, err := l.raw.Delete(l.ctx(), l.prefix+"/", clientv3.WithPrefix())
	l.must(err)
	return l
}

// dump returns all keys of the plane.
func (l *lab) dump() (cells []cell) {
	l.t.Helper()
	for _, kv := range l.get(l.key(""), clientv3.WithPrefix()).Kvs {
		c := cell{Key: string(kv.Key), Lease: kv.Lease}
		if text := string(kv.Value); strings.ToValidUTF8(text, "") == text {
			c.Text = text
		} else {
			c.Bytes = kv.Value
		}
		cells = append(cells, c)
	}
	return cells
}

// restore puts keys into the plane, leases and all.
func (l *lab) restore(cells []cell) {
	l.t.Helper()
	leases := pb.NewLeaseClient(l.raw.ActiveConnection())
	granted := make(map[int64]bool)
	for _, c := range cells {
		if c.Lease != 0 && !granted[c.Lease] {
			granted[c.Lease] = true
			_, err := leases.LeaseGrant(l.ctx(), &pb.LeaseGrantRequest{ID: c.Lease, TTL: 60})
			l.must(err)
		}
		_, err := l.raw.Put(l.ctx(), c.Key, c.value(), clientv3.WithLease(clientv3.LeaseID(c.Lease)))
		l.must(err)
	}
}

// writePlane has this program store all that a shared plane can hold.
func (l *lab) writePlane() {
	l.t.Helper()
	m, err := l.node("a").Join(l.ctx(), recordOfOld("a", modes.StateHotStandby))
	l.must(err)
	founder := storetest.Candidate{Conditions: func() driver.Conditions { return driver.Conditions{PlaneID: "PLANEOFOLD"} }}
	term, err := founder.Lead(l.ctx(), m)
	l.must(err)
	l.writeState(term)
	l.must(term.Announce(l.ctx(), recordOfOld("a", modes.StateMaster), historyOfOld()))
	b, err := l.node("b").Join(l.ctx(), recordOfOld("b", modes.StateHotStandby))
	l.must(err)
	var waiting sync.WaitGroup
	l.t.Cleanup(waiting.Wait)
	waiting.Go(func() { _, _ = storetest.Candidate{}.Lead(l.t.Context(), b) })
	l.eventually("b stands in the election", func() bool {
		return len(l.get(l.key("election/"), prefixOption).Kvs) == 2
	})
	c, err := l.node("c").Join(l.ctx(), recordOfOld("c", modes.StateHotBackup))
	l.must(err)
	left := leftOfOld("c", driver.DepartureStopped)
	l.must(c.Leave(l.ctx(), &left))
	l.must(term.RecordDeparture(l.ctx(), leftOfOld("d", driver.DepartureLost)))
	offer := offerOfOld()
	l.must(term.Offer(l.ctx(), &offer))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	l.must(l.node("a").Pause(l.ctx(), driver.Pause{Since: longAgo, Until: &until, By: "a"}))
}

func (l *lab) writeState(term driver.AnyTerm) {
	l.t.Helper()
	var d rebind.Delta
	d.ID = "OP7"
	state := stateOfOld()
	for _, name := range slices.Sorted(maps.Keys(state)) {
		c := state[name]
		d.Ops = append(d.Ops, rebind.Op{Name: name, Put: &c})
	}
	_, err := term.Commit(l.ctx(), driver.Writes(d, make([]rebind.Revision, len(d.Ops))))
	l.must(err)
}

// writeExclusive has it store what a disabled node leaves in a plane of its own.
func (l *lab) writeExclusive() {
	l.t.Helper()
	_, term, err := l.node("a").JoinExclusive(l.ctx(), recordOfOld("a", modes.StateMaster), "PLANEOFOLD")
	l.must(err)
	l.writeState(term)
}

// fixtures are the planes that are kept, and what stores such a plane today.
func fixtures() map[string]func(*lab) {
	return map[string]func(*lab){"shared": (*lab).writePlane, "exclusive": (*lab).writeExclusive}
}

func readFixture(t testing.TB, name string) (cells []cell) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "format1", name+".json"))
	if err == nil {
		err = json.Unmarshal(text, &cells)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cells
}

// Promise: what this program writes is what the fixtures hold.
func TestFormat_IsWrittenAsItIsKept(t *testing.T) {
	for name, write := range fixtures() {
		t.Run(name, func(t *testing.T) {
			l := newFormatLab(t)
			write(l)
			today := l.dump()
			if *writeFormat != "" {
				text, err := json.MarshalIndent(today, "", "\t")
				l.must(err)
				l.must(os.WriteFile(filepath.Join(*writeFormat, name+".json"), append(text, '\n'), 0o600))
			}
			if diff := cmp.Diff(shapes(readFixture(t, name)), shapes(today)); diff != "" {
				t.Errorf("the stored format has changed: add a format that this program reads as well, with a fixture by -write-format, and leave testdata/format1 as it is (-kept +written):\n%s", diff)
			}
		})
	}
}

var (
	leaseID   = regexp.MustCompile(`election/[0-9a-f]+$`)
	entryTerm = regexp.MustCompile(`history/\d{20}$`)
	writer    = regexp.MustCompile(`term=\d+ `)
)

// shapes tells of each key what of it is the format's: how it is named, whether it is
// on a lease, the header of a memento, the fields of what is JSON.
func shapes(cells []cell) map[string]string {
	found := make(map[string]string)
	for _, c := range cells {
		key := leaseID.ReplaceAllString(entryTerm.ReplaceAllString(c.Key, "history/TERM"), "election/LEASE")
		shape := fmt.Sprintf("leased %t, ", c.Lease != 0)
		var v any
		switch head, payload, _ := strings.Cut(c.value(), "\n"); {
		case strings.Contains(key, "/mementos/"):
			shape += writer.ReplaceAllString(head, "term=N ") + fmt.Sprintf(" and %d bytes", len(payload))
		case json.Unmarshal([]byte(c.value()), &v) == nil:
			shape += shapeOf(v)
		default:
			shape += c.value()
		}
		found[key] = shape
	}
	return found
}

// shapeOf names the fields of a JSON value and their kinds.
func shapeOf(v any) string {
	fields, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("%T", v)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+" "+shapeOf(fields[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
