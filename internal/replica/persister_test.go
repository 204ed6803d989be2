package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// persister returns one that writes under the lab's term.
func (l *lab) persister() *replica.Persister { return l.through(l.term) }

// through returns one that writes through w while the lab's term lasts.
func (l *lab) through(w driver.Writer) *replica.Persister {
	return replica.NewPersister(l.term.Context(), w, l.mirror, 1<<20)
}

// delta makes one of several operations.
func delta(ops ...rebind.Op) rebind.Delta { return rebind.Delta{Ops: ops} }

// expecting adds an expectation to an operation.
func expecting(e rebind.Revision, op rebind.Op) rebind.Op {
	op.Expect = e
	return op
}

// must commits and fails the test if that fails.
func (l *lab) must(p *replica.Persister, ops ...rebind.Op) rebind.Receipt {
	l.t.Helper()
	r, err := p.Commit(l.ctx, delta(ops...))
	if err != nil {
		l.t.Fatalf("commit: %v", err)
	}
	return r
}

// attempt is a commit under way.
type attempt struct {
	receipt rebind.Receipt
	err     error
	done    atomic.Bool
}

// begin commits in the background, and lets it come as far as it does without time
// passing.
func (l *lab) begin(ctx context.Context, p *replica.Persister, ops ...rebind.Op) *attempt {
	a := new(attempt)
	l.group.Go(func() {
		a.receipt, a.err = p.Commit(ctx, delta(ops...))
		a.done.Store(true)
	})
	synctest.Wait()
	return a
}

// want checks that the attempt has ended, and how.
func (a *attempt) want(t *testing.T, err error) {
	t.Helper()
	synctest.Wait()
	if !a.done.Load() {
		t.Fatalf("commit is under way, want it ended with %v", err)
	}
	if !errors.Is(a.err, err) {
		t.Errorf("commit = %v, want %v", a.err, err)
	}
}

func (a *attempt) wantWaiting(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if a.done.Load() {
		t.Fatalf("commit returned %v, want it to wait", a.err)
	}
}

// stored reads the store itself.
func (l *lab) stored(name rebind.Name) *rebind.Memento {
	l.t.Helper()
	var found *rebind.Memento
	_, err := l.server.Node("auditor").Load(l.ctx, func(p driver.Page) error {
		for _, c := range p.Changes {
			if c.Name == name {
				found = c.Memento
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatalf("read the store: %v", err)
	}
	return found
}

func TestPersister_CommitIsVisibleOnReturn(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		first := l.must(p, putOp("entity/x", "1"), putOp("entity/y", "1"))
		l.reads("entity/x", "1")
		l.reads("entity/y", "1")
		if diff := gocmp.Diff(rebind.Receipt{Revision: l.server.Revision(), Replaced: []rebind.Revision{0, 0}}, first); diff != "" {
			t.Errorf("receipt (-want +got):\n%s", diff)
		}
		second := l.must(p, deleteOp("entity/x"), putOp("entity/y", "2"), putOp("entity/z", "2"))
		want := rebind.Receipt{Revision: first.Revision + 1, Replaced: []rebind.Revision{first.Revision, first.Revision, 0}}
		if diff := gocmp.Diff(want, second); diff != "" {
			t.Errorf("receipt (-want +got):\n%s", diff)
		}
		for name, payload := range map[rebind.Name]string{"entity/x": "", "entity/y": "2", "entity/z": "2"} {
			l.reads(name, payload)
		}
	})
}

// Promise: a read on the master sees every write it acknowledged, so the
// acknowledgement waits for the mirror.
func TestPersister_AnswerWaitsForTheMirror(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		l.server.Cut("reader")
		l.nudge() // the mirror has not seen this, so it cannot take the write in by itself
		a := l.begin(l.ctx, l.persister(), putOp("entity/x", "1"))
		pass(time.Minute)
		a.wantWaiting(t)
		if m := l.stored("entity/x"); m == nil {
			t.Fatal("the write has not come to the store")
		}
		l.server.Heal("reader")
		a.want(t, nil)
		l.reads("entity/x", "1")
	})
}

func TestPersister_Expectations(t *testing.T) {
	const there = "entity/there"
	for _, c := range []struct {
		name   string
		target rebind.Name
		expect func(rev rebind.Revision) rebind.Revision
		met    bool
	}{
		{"anything, there", there, func(rebind.Revision) rebind.Revision { return 0 }, true},
		{"anything, absent", "entity/new", func(rebind.Revision) rebind.Revision { return 0 }, true},
		{"none, absent", "entity/new", func(rebind.Revision) rebind.Revision { return rebind.Absent }, true},
		{"none, there", there, func(rebind.Revision) rebind.Revision { return rebind.Absent }, false},
		{"one, there", there, func(rebind.Revision) rebind.Revision { return rebind.Present }, true},
		{"one, absent", "entity/new", func(rebind.Revision) rebind.Revision { return rebind.Present }, false},
		{"its revision", there, func(r rebind.Revision) rebind.Revision { return r }, true},
		{"an older revision", there, func(r rebind.Revision) rebind.Revision { return r - 1 }, false},
		{"a later revision", there, func(r rebind.Revision) rebind.Revision { return r + 1 }, false},
		{"a revision, absent", "entity/new", func(r rebind.Revision) rebind.Revision { return r }, false},
	} {
		for _, kind := range []string{"put", "delete"} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				inLab(t, func(t *testing.T, l *lab) {
					l.load()
					p := l.persister()
					rev := l.must(p, putOp(there, "1")).Revision
					op := expecting(c.expect(rev), putOp(c.target, "2"))
					if kind == "delete" {
						op.Put = nil
					}
					_, err := p.Commit(l.ctx, delta(putOp("entity/beside", "2"), op))
					if c.met {
						if err != nil {
							t.Fatalf("commit = %v, want it to be as expected", err)
						}
						return
					}
					want := &driver.ConflictError{Op: 1, Name: c.target, Expect: op.Expect}
					if c.target == there {
						want.Actual = rev
					}
					var got *driver.ConflictError
					if !errors.As(err, &got) || *got != *want || !errors.Is(err, rebind.ErrConflict) {
						t.Fatalf("commit = %v, want %v", err, want)
					}
					if l.stored("entity/beside") != nil || l.server.Revision() != rev {
						t.Error("a part of the refused delta was stored")
					}
				})
			})
		}
	}
}

// What is expected is for the store to judge: the mirror may be behind.
func TestPersister_ExpectationsBehindTheMirrorsBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   bool // the memento was there when the mirror last looked
		expect rebind.Revision
		met    bool
	}{
		{"none, though the mirror shows none", false, rebind.Absent, false},
		{"one, though the mirror shows none", false, rebind.Present, true},
		{"anything, though the mirror shows none", false, 0, true},
		{"one, though the mirror shows an older", true, rebind.Present, true},
		{"anything, though the mirror shows an older", true, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				if c.seen {
					l.put("entity/x", "seen")
				}
				l.load()
				l.server.Cut("reader")
				l.put("entity/x", "foreign")
				foreign := l.server.Revision()
				a := l.begin(l.ctx, l.persister(), expecting(c.expect, putOp("entity/x", "mine")))
				l.server.Heal("reader")
				if !c.met {
					a.want(t, rebind.ErrConflict)
					var got *driver.ConflictError
					if !errors.As(a.err, &got) || got.Actual != foreign {
						t.Errorf("commit = %v, want it to name revision %d", a.err, foreign)
					}
					return
				}
				a.want(t, nil)
				if len(a.receipt.Replaced) != 1 || a.receipt.Replaced[0] != foreign {
					t.Errorf("replaced %v, want the foreign write at %d", a.receipt.Replaced, foreign)
				}
				l.reads("entity/x", "mine")
			})
		})
	}
}

// A deletion that is gone by the time its answer is lost looks as if it had been made.
// So one whose expectation the mirror does not show to be met is not sent on the
// revision that it expects.
func TestPersister_SendsNoDeletionOnARevisionThatIsOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		var sent [][]rebind.Revision
		p := l.through(writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			var base []rebind.Revision
			for _, w := range writes {
				base = append(base, w.Base)
			}
			sent = append(sent, base)
			return l.term.Commit(ctx, writes)
		}))
		old := l.must(p, putOp("entity/x", "1")).Revision
		l.must(p, deleteOp("entity/x"))
		sent = nil
		_, err := p.Commit(l.ctx, delta(expecting(old, deleteOp("entity/x"))))
		if !errors.Is(err, rebind.ErrConflict) {
			t.Errorf("commit = %v, want a conflict", err)
		}
		if len(sent) != 1 || sent[0][0] >= 0 {
			t.Errorf("sent on %v, want a base that no memento has", sent)
		}
	})
}

func TestPersister_DeleteOfWhatIsNotThere(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.persister()
		before := l.server.Revision()
		r := l.must(p, deleteOp("entity/x"))
		if l.server.Revision() != before || r.Revision != before || r.Replaced[0] != 0 {
			t.Errorf("receipt %+v and the store at %d, want nothing changed at %d", r, l.server.Revision(), before)
		}
		r = l.must(p, deleteOp("entity/x"), putOp("entity/y", "1"))
		if l.server.Revision() != before+1 || r.Revision != before+1 {
			t.Errorf("receipt %+v and the store at %d, want one revision more than %d", r, l.server.Revision(), before)
		}
	})
}

// Promise: a memento in quarantine is repaired by a put and removed by a delete.
func TestPersister_EndsAQuarantine(t *testing.T) {
	for kind, op := range map[string]rebind.Op{"put": putOp("entity/x", "well"), "delete": deleteOp("entity/x")} {
		t.Run(kind, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.server.Put("entity/x", rebind.Content{}, "garbage")
				garbled := l.server.Revision()
				l.load()
				p := l.persister()
				if _, err := p.Commit(l.ctx, delta(expecting(rebind.Absent, putOp("entity/x", "new")))); !errors.Is(err, rebind.ErrConflict) {
					t.Errorf("creating it = %v, want ErrConflict: it is there", err)
				}
				r := l.must(p, expecting(rebind.Present, op))
				if r.Replaced[0] != garbled || l.mirror.View().FaultCount() != 0 {
					t.Errorf("replaced %v, %d faults, want %d and none", r.Replaced, l.mirror.View().FaultCount(), garbled)
				}
			})
		})
	}
}

func TestPersister_RefusesWhatCanNeverBeStored(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		p := l.through(writeFunc(func(context.Context, []driver.Write) (rebind.Revision, error) {
			t.Error("it was sent")
			return 0, rebind.ErrUnknown
		}))
		for want, d := range map[error]rebind.Delta{
			rebind.ErrInvalid:  delta(),
			driver.ErrTooLarge: delta(putOp("entity/x", strings.Repeat("x", 1<<20+1))),
		} {
			if _, err := p.Commit(l.ctx, d); !errors.Is(err, want) {
				t.Errorf("commit = %v, want %v", err, want)
			}
		}
	})
}

func TestPersister_NamesEachOperation(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.load()
		var seen []string
		p := l.through(writeFunc(func(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
			seen = append(seen, writes[0].ID)
			return l.term.Commit(ctx, writes)
		}))
		for range 3 {
			l.must(p, putOp("entity/x", "1"))
		}
		if _, err := p.Commit(l.ctx, rebind.Delta{ID: "mine", Ops: []rebind.Op{putOp("entity/x", "2")}}); err != nil {
			t.Fatal(err)
		}
		distinct := make(map[string]bool)
		for _, id := range seen {
			distinct[id] = id != ""
		}
		if len(distinct) != 4 || !distinct["mine"] || distinct[""] {
			t.Errorf("operation ids %q, want a new one each and the caller's own", seen)
		}
	})
}

// Promise: concurrent writers of one memento come one after the other, and no
// write is lost: whoever was overtaken is told.
func TestPersister_CompareAndSetCounter(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/counter", "0")
		l.load()
		p := l.persister()
		const writers, each = 8, 25
		var conflicts atomic.Int64
		if err := p.Hold(l.ctx); err != nil { // all begin with the same revision
			t.Fatal(err)
		}
		for range writers {
			l.group.Go(func() {
				for added := 0; added < each; {
					m, err := l.mirror.View().Get("entity/counter")
					if err != nil {
						t.Errorf("counter: %v", err)
						return
					}
					n, _ := strconv.Atoi(string(m.Payload))
					_, err = p.Commit(l.ctx, delta(expecting(m.Modified, putOp("entity/counter", strconv.Itoa(n+1)))))
					switch {
					case err == nil:
						added++
					case errors.Is(err, rebind.ErrConflict):
						conflicts.Add(1)
					default:
						t.Errorf("commit: %v", err)
						return
					}
				}
			})
		}
		synctest.Wait()
		p.Resume()
		l.group.Wait()
		if got := payloadIn(l.mirror.View(), "entity/counter"); got != fmt.Sprint(writers*each) {
			t.Errorf("counter = %s after %d conflicts, want %d", got, conflicts.Load(), writers*each)
		}
		if conflicts.Load() < writers-1 {
			t.Errorf("%d conflicts: the test shows nothing", conflicts.Load())
		}
	})
}
