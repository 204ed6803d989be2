package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Runs in which etcd loses part of its history while nodes and clients go on. Such a store
// has no single history to judge by. The test is that the plane comes to rest with a higher
// term, and that every copy then equals the store, byte for byte.

// loss is a way to lose part of the history.
type loss string

const (
	// tail: all members are reset to an earlier state.
	tail loss = "tail"
	// overtaken: besides, they are written to beyond the revision that nodes have seen,
	// before any node can reach them.
	overtaken loss = "overtaken"
	// forced: a member that lags becomes a cluster of its own, and the others are lost.
	forced loss = "forced"
)

// pasts is one run.
type pasts struct {
	*Fleet
	chance *rand.Rand
}

// LosePasts runs a fleet whose etcd loses part of its history in each of these ways, in a
// random order, and returns the findings. With an error the run proves nothing.
func LosePasts(ctx context.Context, cfg Config) ([]string, error) {
	f, err := Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &pasts{f, stream(cfg.Seed, "pasts")}
	order := []loss{tail, overtaken}
	p.chance.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, what := range append(order, forced) { // this leaves one member
		if err = p.round(ctx, i, what); err != nil || len(f.wrong) > 0 {
			break
		}
	}
	err = errors.Join(err, f.Close())
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(f.wrong, f.complaints()...), err
}

// round loses part of the history once, and compares.
func (p *pasts) round(ctx context.Context, number int, what loss) error {
	idle := p.busy(ctx, fmt.Sprintf("%d-%s", number, what))
	defer idle()
	kept, phantom := fmt.Sprintf("kept/%d", number), fmt.Sprintf("phantom/%d", number)
	if err := p.done(ctx, http.MethodPut, kept); err != nil {
		return err
	}
	lose, err := p.prepare(ctx, what)
	if err != nil {
		return err
	}
	for _, last := range []func() error{
		func() error { return p.peace(ctx, time.Duration(100+p.chance.IntN(900))*time.Millisecond) },
		func() error { return p.done(ctx, http.MethodDelete, kept) },
		func() error { return p.done(ctx, http.MethodPut, phantom) },
	} {
		if err := last(); err != nil {
			return err
		}
	}
	before, err := p.known(ctx)
	if err != nil {
		return err
	}
	began := p.Now()
	if err := lose(ctx); err != nil {
		return err
	}
	err = p.rest(ctx)
	p.cfg.Logger.Info("past lost", zap.String("how", string(what)), zap.Duration("ttl", p.cfg.TTL), zap.Duration("took", p.Now()-began), zap.Error(err))
	if err != nil {
		p.complain("I-34: after loss %d, %s: %v", number, what, err)
		return nil
	}
	idle()
	after, err := p.known(ctx)
	if err != nil {
		return err
	}
	if after.term <= before.term {
		p.complain("I-2: after loss %d, %s: term %d follows term %d", number, what, after.term, before.term)
	}
	for _, id := range before.holders {
		if after.told[id] == before.told[id] {
			p.complain("I-12: after loss %d, %s: %s, which had a copy, does not say that the store was restored", number, what, id)
		}
	}
	return p.compare(ctx, fmt.Sprintf("loss %d, %s", number, what), kept, phantom)
}

// busy lets clients work until told to stop.
func (p *pasts) busy(ctx context.Context, name string) (idle func()) {
	working, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { p.newClient(fmt.Sprintf("%s-c%d", name, i)).work(working) })
	}
	return func() { stop(); group.Wait() }
}

// done puts or deletes a memento, and waits until every copy has reached that revision.
func (p *pasts) done(ctx context.Context, method, name string) error {
	return await(ctx, slack, func(ctx context.Context) error {
		leader, err := p.soleMaster(ctx)
		if err != nil {
			return err
		}
		var op evidence.Op
		r := request{method: method, url: leader.url + "/v1/mementos/" + name}
		if method == http.MethodPut {
			r.body = []byte(name)
		}
		p.newClient("hand").ask(ctx, &op, r)
		if op.Outcome != evidence.OK {
			return fmt.Errorf("%w: %s %s: %s", ErrInvalid, method, name, op.Why)
		}
		return p.takeCopies(ctx, op.Revision)
	})
}

// knowledge is what nodes know and have said.
type knowledge struct {
	term    int64          // the highest
	holders []string       // the nodes with a copy
	told    map[string]int // how often each has said that the store was restored
}

func (p *pasts) known(ctx context.Context) (knowledge, error) {
	k := knowledge{told: make(map[string]int)}
	for _, n := range p.Nodes {
		s, err := n.State(ctx)
		if err != nil {
			return k, err
		}
		k.term = max(k.term, s.Term)
		if s.State != "STANDBY" {
			k.holders = append(k.holders, n.ID)
		}
		for _, e := range n.Process().story().said {
			if strings.HasPrefix(e.Message, "store restored") {
				k.told[n.ID]++
			}
		}
	}
	return k, nil
}

// prepare does what has to be done before the part of the history that is to be lost, and
// returns the func that loses it.
func (p *pasts) prepare(ctx context.Context, what loss) (lose func(context.Context) error, err error) {
	if what == forced {
		leader, err := p.Leader(ctx, waitLimit)
		if err != nil {
			return nil, err
		}
		lagging := p.Members[0]
		if lagging == leader {
			lagging = p.Members[1]
		}
		lagging.Process().Kill()
		return func(ctx context.Context) error {
			p.fell()
			if err := lagging.startAt(lagging.client, "--force-new-cluster"); err != nil {
				return err
			}
			return lagging.AwaitServing(ctx, waitLimit)
		}, nil
	}
	saved, err := p.save(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		seen, err := p.store.Get(ctx, root)
		if err != nil {
			return fmt.Errorf("read the store's revision: %w", err)
		}
		p.fell()
		for _, m := range p.Members {
			if err := errors.Join(os.RemoveAll(m.data()), os.Rename(filepath.Join(saved, m.Name), m.data())); err != nil {
				return fmt.Errorf("put %s back: %w", m.Name, err)
			}
		}
		if what == overtaken {
			if err := p.overtake(ctx, seen.Header.Revision+int64(p.chance.IntN(50))); err != nil {
				return err
			}
		}
		for _, m := range p.Members {
			if err := m.Start(); err != nil {
				return err
			}
		}
		_, err = p.Leader(ctx, waitLimit)
		return err
	}, nil
}

// fell kills all members at once.
func (p *pasts) fell() {
	for _, m := range p.Members {
		m.Process().shoot()
	}
	for _, m := range p.Members {
		m.Process().Kill()
	}
}

// save copies the data of all members while they stand still, like a snapshot of their
// disks.
func (p *pasts) save(ctx context.Context) (dir string, err error) {
	dir = filepath.Join(p.cfg.Dir, "saved") // whose members were moved when it was used before
	for _, m := range p.Members {
		if err := m.Process().Freeze(ctx); err != nil {
			return "", err
		}
	}
	for _, m := range p.Members {
		err = errors.Join(err, os.CopyFS(filepath.Join(dir, m.Name), os.DirFS(m.data())))
	}
	for _, m := range p.Members {
		err = errors.Join(err, m.Process().Thaw(context.WithoutCancel(ctx)))
	}
	return dir, err
}

// overtake makes the members go on to a revision, where no node can reach them.
func (p *pasts) overtake(ctx context.Context, to int64) error {
	var hidden []string
	for _, m := range p.Members {
		address, err := m.place.address()
		if err == nil {
			err = m.startAt(address)
		}
		if err != nil {
			return err
		}
		hidden = append(hidden, address)
	}
	store, err := p.openStore(hidden, false)
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	var group sync.WaitGroup
	errs := make([]error, clients)
	for i := range errs {
		group.Go(func() {
			for head := int64(0); head <= to && errs[i] == nil; {
				var resp *clientv3.PutResponse
				if resp, errs[i] = store.Put(ctx, "/elsewhere", ""); errs[i] == nil {
					head = resp.Header.Revision
				}
			}
		})
	}
	group.Wait()
	p.fell()
	return errors.Join(errs...)
}

// compare checks that every copy equals the store, and that the store has one memento and
// lacks another.
func (p *pasts) compare(ctx context.Context, after, kept, phantom string) error {
	const mementos = root + "mementos/"
	found, err := p.store.Get(ctx, mementos, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	var held []evidence.Memento
	has := make(map[string]bool)
	for _, kv := range found.Kvs {
		_, payload, _ := strings.Cut(string(kv.Value), "\n")
		name := strings.TrimPrefix(string(kv.Key), mementos)
		has[name] = true
		held = append(held, evidence.Memento{Name: name, Payload: payload, Modified: kv.ModRevision})
	}
	if !has[kept] || has[phantom] {
		return fmt.Errorf("%w: after %s the store has %s: %t, and %s: %t", ErrInvalid, after, kept, has[kept], phantom, has[phantom])
	}
	want := evidence.Digest(held)
	for _, n := range p.Nodes {
		s, err := n.State(ctx)
		if err != nil {
			return err
		}
		if s.State == "STANDBY" {
			continue
		}
		c, err := p.copyOf(ctx, n, "consistent=true")
		switch {
		case err != nil:
			p.complain("I-12: after %s: %v", after, err)
		case c.Digest != want:
			p.complain("I-12: after %s: the copy of %s has %d mementos and the store %d, and they are not the same", after, n.ID, c.Count, len(held))
		}
	}
	return nil
}
