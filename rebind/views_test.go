package rebind_test

import (
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/rebind"
)

// viewOf makes a view of mementos that were put at revisions 1, 2, 3 in the order given.
func viewOf(mementos ...*rebind.Memento) *rebind.View {
	var changes []rebind.Change
	for i := range mementos {
		m := &rebind.Memento{Name: mementos[i].Name, Content: mementos[i].Content, Created: rebind.Revision(i + 1), Modified: rebind.Revision(i + 1), Version: 1}
		changes = append(changes, rebind.Change{Name: m.Name, Memento: m, Revision: m.Modified})
	}
	return viewAt(rebind.Revision(len(mementos)), changes...)
}

// viewAt makes a view of changes, as a mirror does that loads them.
func viewAt(at rebind.Revision, changes ...rebind.Change) *rebind.View {
	slices.SortFunc(changes, func(a, b rebind.Change) int { return strings.Compare(string(a.Name), string(b.Name)) })
	d := &rebind.Draft{}
	for _, c := range changes {
		d.Load(c)
	}
	return d.View(at, nil)
}

// child is a memento that has a parent, or has none.
func child(name, parent string) *rebind.Memento {
	return &rebind.Memento{Name: rebind.Name(name), Content: rebind.Content{Parent: rebind.Name(parent)}}
}

// namesOf lists the names of mementos.
func namesOf(mementos []*rebind.Memento) []string {
	list := make([]string, len(mementos))
	for i, m := range mementos {
		list[i] = string(m.Name)
	}
	return list
}
