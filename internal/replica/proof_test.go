package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/rebind"
)

// overtake has an older copy of the store take its place, and the new history pass the
// old one's revision, before anybody is told.
func (l *lab) overtake(write func()) {
	l.t.Helper()
	backup, lost := l.server.Backup(), l.server.Revision()
	write()
	lost = max(lost, l.server.Revision())
	l.server.PutBack(backup, lost+5)
}

// proves checks that the copy holds what the store holds, and that it is called current.
func (l *lab) proves(want map[rebind.Name]string) {
	l.t.Helper()
	pass(3 * time.Second)
	if err := l.mirror.Confirm(l.within(time.Second)); err != nil {
		l.t.Errorf("Confirm: %v", err)
	}
	v := l.mirror.View()
	got := map[rebind.Name]string{}
	for m := range v.From("") {
		got[m.Name] = string(m.Payload)
	}
	if !maps.Equal(got, want) {
		l.t.Errorf("copy holds %v, the store %v", got, want)
	}
	if v.Revision() != l.server.Revision() || l.mirror.Staleness() > 2*time.Second {
		l.t.Errorf("copy at revision %d, %s old, store at %d", v.Revision(), l.mirror.Staleness(), l.server.Revision())
	}
}

// Promise: a restore whose new history has overtaken the old one is noticed, whatever
// the copy holds too much or too little.
func TestMirror_RestoreThatIsOvertaken(t *testing.T) {
	before := map[rebind.Name]string{"entity/x": "1", "entity/y": "1"}
	cases := map[string]func(l *lab){
		"a put is lost":             func(l *lab) { l.put("entity/z", "phantom") },
		"a replacement is lost":     func(l *lab) { l.put("entity/x", "phantom") },
		"a delete is lost":          func(l *lab) { l.server.Delete("entity/x") },
		"a put, then its delete":    func(l *lab) { l.put("entity/z", "1"); l.server.Delete("entity/z") },
		"both are lost":             func(l *lab) { l.put("entity/z", "phantom"); l.server.Delete("entity/x") },
		"all is deleted":            func(l *lab) { l.server.Delete("entity/x"); l.server.Delete("entity/y") },
		"something garbled is lost": func(l *lab) { l.server.Put("entity/z", rebind.Content{}, "garbled") },
	}
	for name, write := range cases {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.put("entity/x", "1")
				l.put("entity/y", "1")
				l.load()
				l.overtake(func() {
					write(l)
					synctest.Wait()
				})
				l.proves(before)
				if n := l.source.loads.Load(); n != 2 {
					t.Errorf("%d loads, want 2", n)
				}
			})
		})
		t.Run(name+", before the load", func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.put("entity/x", "1")
				l.put("entity/y", "1")
				l.overtake(func() {
					write(l)
					l.load()
				})
				l.proves(before)
			})
		})
	}
}

// Promise: where the new history repeats the old one's last change to the byte, what
// came before it is looked at as well.
func TestMirror_SameLastChangeOfAnotherPast(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.put("entity/y", "1")
		l.load()
		backup := l.server.Backup()
		l.put("entity/x", "phantom")
		l.put("entity/z", "1")
		l.server.Delete("entity/z")
		synctest.Wait()
		l.server.PutBack(backup, 0)
		l.put("entity/y", "2")
		l.put("entity/z", "1")
		l.server.Delete("entity/z")
		l.proves(map[rebind.Name]string{"entity/x": "1", "entity/y": "2"})
	})
}

// Promise: a gap in which nothing was lost costs no reload, and the store no write.
func TestMirror_GapWithoutLoss(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.put("entity/gone", "1")
		l.server.Delete("entity/gone")
		l.load()
		want := map[rebind.Name]string{"entity/x": "1"}
		for i := range 5 {
			before := l.server.Revision()
			l.server.Break()
			l.proves(want)
			if now := l.server.Revision(); now != before {
				t.Errorf("a proof made %d revisions", now-before)
			}
			name := rebind.Name(fmt.Sprintf("entity/%d", i))
			l.put(name, "1")
			want[name] = "1"
			if i > 2 {
				l.server.Delete("entity/0")
				delete(want, "entity/0")
			}
			l.nudge()
		}
		if n := l.source.loads.Load(); n != 1 {
			t.Errorf("%d loads, want 1", n)
		}
	})
}

// Promise: what a master has taken in from answers alone is proved like the rest.
func TestMirror_RestoreAfterWritesOfAMaster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.load()
		backup := l.server.Backup()
		l.server.Stall("reader", true)
		p := replica.NewPersister(l.ctx, l.term, l.mirror, 1<<20)
		for i := range 3 {
			if _, err := p.Commit(l.ctx, rebind.Delta{Ops: []rebind.Op{putOp("entity/x", fmt.Sprint("phantom", i))}}); err != nil {
				t.Fatal(err)
			}
		}
		l.reads("entity/x", "phantom2")
		lost := l.server.Revision()
		l.server.Stall("reader", false)
		l.server.PutBack(backup, lost+5)
		l.proves(map[rebind.Name]string{"entity/x": "1"})
	})
}

// Promise: while its past is not proved a copy is not called current, whatever it is
// asked; who waits for a revision that the old history had too is not shown that.
func TestMirror_InDoubtIsNotCurrent(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		backup := l.server.Backup()
		l.load()
		l.put("entity/x", "phantom")
		synctest.Wait()
		at := l.server.Revision()
		l.server.PutBack(backup, at+5)
		l.server.Cut("reader")
		pass(5 * time.Second)
		if err := l.mirror.Reach(l.within(time.Second), at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Reach = %v, want that it waits", err)
		}
		if d := l.mirror.Staleness(); d < 5*time.Second {
			t.Errorf("copy in doubt is %s old", d)
		}
		l.server.Heal("reader")
		if err := l.mirror.Reach(l.within(5*time.Second), at); err != nil {
			t.Fatal(err)
		}
		l.reads("entity/x", "1")
	})
}

// Promise: a process that slept proves its copy's past on waking, and so does one that
// could not ask the store, even where the stream did not break.
func TestMirror_ConfirmationThatWasMissed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.load()
		fail := errors.New("no answer")
		for range 3 {
			watches := l.source.watches.Load()
			l.source.failHeads(fail)
			pass(2 * time.Second)
			l.source.failHeads(nil)
			l.proves(map[rebind.Name]string{"entity/x": "1"})
			if n := l.source.watches.Load() - watches; n != 1 {
				t.Errorf("%d streams begun after a gap, want 1", n)
			}
		}
	})
}

// Promise: a change that the store tells too late, after it had said that it was past
// that, is not dropped: the copy is made anew.
func TestMirror_ChangeThatComesTooLate(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.put("entity/x", "1")
		l.load()
		l.source.holdBack() // as etcd 3.4 may do
		l.put("entity/x", "2")
		l.nudge()
		synctest.Wait()
		l.reads("entity/x", "1")
		l.source.letGo()
		l.proves(map[rebind.Name]string{"entity/x": "2"})
		if n := l.source.loads.Load(); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
}

// Promise: whatever happens to the store, lost tails and restores that are overtaken
// among it, a copy that is called current is the store at its revision.
func TestMirror_IsTheStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []rebind.Name{"a/1", "a/2", "b/1"}
		kinds := []string{"put", "put", "delete", "garble", "nudge", "break", "cut", "heal", "compact", "wait", "wait", "save", "restore", "restore"}
		moves := rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 40).Draw(rt, "moves")
		inLab(t, func(t *testing.T, l *lab) {
			now, saved, backup := model{}, model{}, l.server.Backup()
			l.load()
			for turn, kind := range moves {
				mv := move{kind: kind, names: []rebind.Name{names[(turn*7+len(moves))%len(names)]}}
				switch kind {
				case "delete":
					l.server.Delete(mv.names[0])
					delete(now, mv.names[0])
				case "save":
					backup, saved = l.server.Backup(), maps.Clone(now)
				case "restore":
					l.server.PutBack(backup, l.server.Revision()+rebind.Revision(turn%5-2))
					now = maps.Clone(saved)
					synctest.Wait() // that the stream is broken is seen before anything is asked
				default:
					l.play(now, mv, turn)
				}
				ctx, cancel := context.WithTimeout(l.ctx, 20*time.Millisecond)
				if l.mirror.Confirm(ctx) == nil {
					if err := now.differs(l.mirror.View()); err != nil {
						rt.Errorf("after move %d, %s: %v", turn, kind, err)
					}
				}
				cancel()
			}
			l.server.Heal("reader")
			pass(5 * time.Second)
			if err := l.mirror.Confirm(l.within(time.Second)); err != nil {
				rt.Errorf("Confirm: %v", err)
			}
			if err := now.differs(l.mirror.View()); err != nil {
				rt.Errorf("at the end: %v", err)
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}
