package bubble_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/rebind"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

var restores = flag.Int("restores", 20, "how many seeds to run with a store that goes back in time")

// TestRestores runs planes whose store is replaced by an older copy of itself while nodes
// and clients go on: with its latest changes lost, or with others made before anybody can
// reach it. Such a store has no single history to judge by; the test is that the plane
// comes to rest and every copy then equals the store, byte for byte.
func TestRestores(t *testing.T) {
	for i := range uint64(*restores) {
		seed := *first + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var told bytes.Buffer
			var findings []string
			synctest.Test(t, func(t *testing.T) { findings = restoring(t, seed, &told) })
			if len(findings) == 0 {
				return
			}
			path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("%d.log", seed))
			if err := os.WriteFile(path, told.Bytes(), 0o600); err != nil {
				t.Error(err)
			}
			for _, f := range findings {
				t.Error(f)
			}
			t.Logf("what the nodes said: %s\nagain: go test ./test/lab/bubble -run TestRestores/%d -artifacts -first %d", path, seed, seed)
		})
	}
}

// restoring runs the plane of a seed and returns the broken invariants. It is called in a
// bubble.
func restoring(t *testing.T, seed uint64, told io.Writer) []string {
	p := newPlan(seed)
	p.Steps = nil
	l := newLab(t, p, told)
	defer l.remove()
	stop, leave := l.live()
	chance := l.random("restores")
	ctx := context.Background()
	l.comeToRest()
	for range 1 + chance.IntN(3) {
		_ = wait(ctx, millis(chance, 100, 2000))
		saved := l.etcd.save()
		_ = wait(ctx, millis(chance, 50, 3000))
		goOn := int64(0)
		if chance.IntN(4) > 0 {
			goOn = l.head() + int64(chance.IntN(20)) - 4
		}
		l.etcd.putBack(saved, goOn)
		_ = wait(ctx, millis(chance, 100, 5000))
		if chance.IntN(2) == 0 {
			l.comeToRest()
		}
	}
	l.comeToRest()
	stop()
	l.settle()
	l.sameAsStore()
	leave()
	return l.failed
}

// head is the store's revision.
func (l *lab) head() int64 {
	resp, err := l.raw.Get(context.Background(), root, clientv3.WithCountOnly())
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.Header.Revision
}

// sameAsStore compares all copies with the store, which is at rest.
func (l *lab) sameAsStore() {
	const mementos = root + "mementos/"
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := l.raw.Get(ctx, mementos, clientv3.WithPrefix())
	if err != nil {
		l.broken("invalid", "read the store: %v", err)
		return
	}
	var held []evidence.Memento
	for _, kv := range found.Kvs {
		_, payload, _ := strings.Cut(string(kv.Value), "\n")
		held = append(held, evidence.Memento{
			Name: strings.TrimPrefix(string(kv.Key), mementos), Payload: payload, Modified: kv.ModRevision,
		})
	}
	want := evidence.Digest(held)
	for _, s := range l.seats {
		node := s.present().up()
		if node == nil || !node.Status().State.Hot() && !node.Status().Acting {
			continue
		}
		if err := node.WaitRevision(ctx, rebind.Revision(found.Header.Revision)); err != nil {
			l.broken("I-12", "%s does not reach revision %d: %v", s.ID, found.Header.Revision, err)
			continue
		}
		reading, err := node.Read()
		if err != nil {
			l.broken("I-12", "%s is not readable: %v", s.ID, err)
			continue
		}
		var copied []evidence.Memento
		for m := range reading.View.From("") {
			copied = append(copied, evidence.Memento{Name: string(m.Name), Payload: string(m.Payload), Modified: int64(m.Modified)})
		}
		if evidence.Digest(copied) != want {
			l.broken("I-12", "the copy of %s has %d mementos and the store %d, and they are not the same", s.ID, len(copied), len(held))
		}
	}
}
