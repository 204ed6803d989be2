package rebind_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/coordinator-ha/coordinator/rebind"
)

// memory is the state of a plane for these examples. In a program it is a Leader or a Node
// of package coordinator.
type memory struct {
	draft rebind.Draft
	at    rebind.Revision
	steps []rebind.Changeset
}

// View returns the newest view.
func (m *memory) View() *rebind.View {
	return m.draft.View(m.at, func(after rebind.Revision) ([]rebind.Changeset, bool) { return m.steps[after:], true })
}

// Commit applies d if its expectations are met.
func (m *memory) Commit(_ context.Context, d rebind.Delta) (rebind.Receipt, error) {
	if err := d.Check(); err != nil {
		return rebind.Receipt{}, err
	}
	receipt, step, view := rebind.Receipt{Revision: m.at + 1}, rebind.Changeset{Revision: m.at + 1}, m.View()
	for i := range d.Ops {
		op := &d.Ops[i]
		base := view.Modified(op.Name)
		if !op.Met(base) {
			return rebind.Receipt{}, fmt.Errorf("%w: %s is at revision %d", rebind.ErrConflict, op.Name, base)
		}
		c := rebind.Change{Name: op.Name, Revision: m.at + 1}
		if op.Put != nil {
			c.Memento, _ = m.draft.Next(op, 0, base, m.at+1)
		}
		step.Changes = append(step.Changes, c)
		receipt.Replaced = append(receipt.Replaced, base)
	}
	for _, c := range step.Changes {
		m.draft.Apply(c)
	}
	m.at++
	m.steps = append(m.steps, step)
	return receipt, nil
}

// Job is what a program keeps.
type Job struct {
	Owner string `json:"owner"`
	Runs  int    `json:"runs"`
}

// A kind reads and writes the mementos of one type as values. Update tries again if another
// writer comes between.
func ExampleKind() {
	ctx, state, jobs := context.Background(), new(memory), rebind.JSON[Job]("job")

	created, err := jobs.Put(ctx, state, "nightly", Job{Owner: "ann"}, rebind.Absent)
	fmt.Println("created at", created.Revision, err)
	_, err = jobs.Put(ctx, state, "nightly", Job{Owner: "bob"}, rebind.Absent)
	fmt.Println("a second time:", errors.Is(err, rebind.ErrConflict))

	_, err = jobs.Update(ctx, state, "nightly", func(j Job) (Job, error) {
		j.Runs++
		return j, nil
	})
	nightly, _ := jobs.Get(state.View(), "nightly")
	fmt.Println(nightly.Value, "at", nightly.Modified, err)

	_, err = jobs.Delete(ctx, state, "nightly", created.Revision)
	fmt.Println("delete the old one:", err)
	// Output:
	// created at 1 <nil>
	// a second time: true
	// {ann 1} at 2 <nil>
	// delete the old one: memento changed: job/nightly is at revision 2
}

// A program that changes the format of its payloads reads the old ones through an upgrade.
func ExampleJSON_upgrade() {
	ctx, state := context.Background(), new(memory)
	old := rebind.JSON[map[string]string]("job")
	_, _ = old.Put(ctx, state, "nightly", map[string]string{"user": "ann"})

	jobs := rebind.JSON[Job]("job", func(payload []byte) ([]byte, error) {
		return bytes.Replace(payload, []byte(`"user"`), []byte(`"owner"`), 1), nil
	})
	nightly, err := jobs.Get(state.View(), "nightly")
	fmt.Println(nightly.Value.Owner, err)

	_, _ = jobs.Put(ctx, state, "nightly", nightly.Value) // stored in the new format from here on
	_, err = old.Get(state.View(), "nightly")
	fmt.Println("an older program:", err)
	// Output:
	// ann <nil>
	// an older program: memento is quarantined: job/nightly: its schema version 1 is newer than 0, the newest that this program knows
}

// An index finds values by their content. It follows from view to view.
func ExampleIndex() {
	ctx, state, jobs := context.Background(), new(memory), rebind.JSON[Job]("job")
	byOwner := jobs.Index(func(_ string, j Job) []string { return []string{j.Owner} })
	list := func() {
		for _, e := range byOwner.Get(state.View(), "ann") {
			fmt.Println(e.ID, "at", e.Modified)
		}
	}
	_, _ = jobs.Put(ctx, state, "nightly", Job{Owner: "ann"})
	_, _ = jobs.Put(ctx, state, "hourly", Job{Owner: "ann"})
	_, _ = jobs.Put(ctx, state, "weekly", Job{Owner: "bob"})
	list()
	fmt.Println("then")
	_, _ = jobs.Put(ctx, state, "hourly", Job{Owner: "bob"})
	list()
	// Output:
	// hourly at 2
	// nightly at 1
	// then
	// nightly at 1
}

// A delta of several operations is stored whole or not at all.
func ExampleDelta() {
	ctx, state, jobs := context.Background(), new(memory), rebind.JSON[Job]("job")
	_, _ = jobs.Put(ctx, state, "old", Job{Owner: "ann"})

	put, err := jobs.Op("new", Job{Owner: "ann"}, rebind.Absent)
	if err != nil {
		fmt.Println(err)
		return
	}
	move := rebind.Delta{ID: "move-1", Ops: []rebind.Op{put, {Name: "job/old", Expect: rebind.Present}}}
	receipt, err := state.Commit(ctx, move)
	fmt.Println("at", receipt.Revision, "replaced", receipt.Replaced, err)
	_, err = state.Commit(ctx, move)
	fmt.Println(err)
	// Output:
	// at 2 replaced [0 1] <nil>
	// memento changed: job/new is at revision 2
}

// A view is all state at one revision. What is stored later does not change it.
func ExampleView() {
	ctx, state := context.Background(), new(memory)
	for _, name := range []rebind.Name{"disk/a", "host/h1", "disk/b"} {
		content := &rebind.Content{Payload: []byte("…")}
		if name.Type() == "disk" {
			content.Parent = "host/h1"
		}
		_, _ = state.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: name, Put: content}}})
	}
	view := state.View()
	_, _ = state.Commit(ctx, rebind.Delta{Ops: []rebind.Op{{Name: "disk/b"}}})
	fmt.Println("revision", view.Revision(), "of", view.Len(), "mementos; now there are", state.View().Len())

	mementos, _ := view.Ordered() // parents first, as a program wants to load them
	for _, m := range mementos {
		fmt.Println(m.Name, m.Modified)
	}
	_, err := view.Get("disk/c")
	fmt.Println(errors.Is(err, rebind.ErrNotFound))
	// Output:
	// revision 3 of 3 mementos; now there are 2
	// host/h1 2
	// disk/a 1
	// disk/b 3
	// true
}

// A draft makes a view for a test of code that reads one.
func ExampleDraft() {
	var draft rebind.Draft
	draft.Apply(rebind.Change{Name: "job/x", Revision: 1, Memento: &rebind.Memento{
		Name: "job/x", Modified: 1, Content: rebind.Content{Payload: []byte(`{"owner":"ann"}`)},
	}})
	draft.Apply(rebind.Change{Name: "job/y", Revision: 2, Fault: "no header"})
	view := draft.View(2, nil)
	x, err := rebind.JSON[Job]("job").Get(view, "x")
	fmt.Println(x.Value.Owner, err)
	_, err = view.Get("job/y")
	fmt.Println(err)
	// Output:
	// ann <nil>
	// memento is quarantined since revision 2: no header
}

// gobCodec stores values as encoding/gob does.
type gobCodec struct{}

func (gobCodec) ContentType() string { return "application/x-gob" }

func (gobCodec) Encode(j Job) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(j)
	return b.Bytes(), err
}

func (gobCodec) Decode(payload []byte) (j Job, err error) {
	return j, gob.NewDecoder(bytes.NewReader(payload)).Decode(&j)
}

// A codec is a format of one's own.
func ExampleCodec() {
	ctx, state, jobs := context.Background(), new(memory), rebind.NewKind("job", gobCodec{})
	_, _ = jobs.Put(ctx, state, "nightly", Job{Owner: "ann", Runs: 3})
	nightly, err := jobs.Get(state.View(), "nightly")
	m, _ := state.View().Get("job/nightly")
	fmt.Println(nightly.Value, m.ContentType, err)
	// Output: {ann 3} application/x-gob <nil>
}

// Rules say what a program requires of the mementos that it loads.
func ExampleRules() {
	rules := rebind.Rules{
		Check: func(m *rebind.Memento) error {
			if len(m.Payload) == 0 {
				return errors.New("it has no payload")
			}
			return nil
		},
		FailFast: []string{"disk"},
	}
	c := rules.Judge(rebind.Change{Name: "disk/a", Memento: &rebind.Memento{Name: "disk/a"}, Revision: 7})
	required, atOnce := rules.Requires("disk")
	fmt.Println(c.Name, "is quarantined:", c.Fault)
	fmt.Println("a first load with it fails:", required, "at once:", atOnce)
	// Output:
	// disk/a is quarantined: it has no payload
	// a first load with it fails: true at once: true
}

// A name is a type and an id.
func ExampleName() {
	name, err := rebind.NewName("job", "nightly")
	fmt.Println(name, name.Type(), name.ID(), err)
	fmt.Println(rebind.Name("nightly").Check())
	// Output:
	// job/nightly job nightly <nil>
	// invalid: memento name "nightly": write it as type/id
}
