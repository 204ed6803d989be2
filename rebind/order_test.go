package rebind_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/rebind"
)

func TestView_Ordered(t *testing.T) {
	for _, c := range []struct {
		name     string
		mementos []*rebind.Memento
		types    []string
		want     []string
		stray    int
	}{
		{name: "nothing", want: []string{}},
		{
			name:     "by name if nothing else is said",
			mementos: []*rebind.Memento{child("b/1", ""), child("a/2", ""), child("a/1", ""), child("a-b/1", "")},
			want:     []string{"a-b/1", "a/1", "a/2", "b/1"},
		},
		{
			name:     "types as declared, the others by name",
			mementos: []*rebind.Memento{child("a/1", ""), child("b/1", ""), child("c/1", ""), child("d/1", "")},
			types:    []string{"d", "b"},
			want:     []string{"d/1", "b/1", "a/1", "c/1"},
		},
		{
			name:     "a declared type does not draw in one that begins alike",
			mementos: []*rebind.Memento{child("b/1", ""), child("b-x/1", ""), child("a/1", "")},
			types:    []string{"b"},
			want:     []string{"b/1", "a/1", "b-x/1"},
		},
		{
			name:     "a type declared twice or not there changes nothing",
			mementos: []*rebind.Memento{child("a/1", ""), child("b/1", "")},
			types:    []string{"b", "none", "b"},
			want:     []string{"b/1", "a/1"},
		},
		{
			name:     "parents before children",
			mementos: []*rebind.Memento{child("a/1", "a/3"), child("a/2", "a/1"), child("a/3", "")},
			want:     []string{"a/3", "a/1", "a/2"},
		},
		{
			name:     "a parent of a later type is brought forward",
			mementos: []*rebind.Memento{child("a/1", "b/2"), child("a/2", ""), child("b/1", ""), child("b/2", "")},
			types:    []string{"a", "b"},
			want:     []string{"b/2", "a/1", "a/2", "b/1"},
		},
		{
			name:     "those without their parent last, with all that depends on them",
			mementos: []*rebind.Memento{child("a/1", "x/1"), child("a/2", "a/1"), child("a/3", "")},
			want:     []string{"a/3", "a/1", "a/2"}, stray: 2,
		},
		{
			name:     "its own parent",
			mementos: []*rebind.Memento{child("a/1", "a/1"), child("a/2", "")},
			want:     []string{"a/2", "a/1"}, stray: 1,
		},
		{
			name:     "a circle, and what hangs on it behind it",
			mementos: []*rebind.Memento{child("a/1", "b/1"), child("b/1", "c/1"), child("c/1", "b/1"), child("d/1", "")},
			want:     []string{"d/1", "c/1", "b/1", "a/1"}, stray: 3,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, strays := viewOf(c.mementos...).Ordered(c.types...)
			if diff := gocmp.Diff(c.want, namesOf(got)); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if strays != c.stray {
				t.Errorf("stray = %d, want %d", strays, c.stray)
			}
		})
	}
}

// A parent in quarantine is as good as none: the program cannot have it.
func TestView_Ordered_ParentInQuarantine(t *testing.T) {
	m := child("a/2", "a/1")
	view := viewAt(2,
		rebind.Change{Name: "a/1", Fault: "garbage", Revision: 1},
		rebind.Change{Name: "a/2", Memento: m, Revision: 2})
	if got, strays := view.Ordered(); len(got) != 1 || strays != 1 {
		t.Errorf("order = %v, stray %d, want the child as a stray", namesOf(got), strays)
	}
}

// One line of descent as long as this overflows the stack of a walk by recursion
// with a frame to each, and takes for ever where each walks up anew.
func TestView_Ordered_LongLine(t *testing.T) {
	const length = 100_000
	name := func(i int) string { return fmt.Sprintf("a/%06d", length-i) } // the youngest comes first
	line := make([]*rebind.Memento, length)
	for i := range line {
		line[i] = child(name(i), "")
		if i > 0 {
			line[i].Parent = rebind.Name(name(i - 1))
		}
	}
	view := viewOf(line...)
	check := func(stray int) {
		t.Helper()
		got, strays := view.Ordered()
		if len(got) != length || strays != stray {
			t.Fatalf("%d mementos, stray %d, want %d, stray %d", len(got), strays, length, stray)
		}
		for i, m := range got {
			if string(m.Name) != name(i) {
				t.Fatalf("memento %d is %s, want %s", i, m.Name, name(i))
			}
		}
	}
	check(0)
	line[0].Parent = "a/gone"
	view = viewOf(line...)
	check(length)
}

// family draws a set of mementos whose parents may be missing or go in circles.
func family(t *rapid.T) []*rebind.Memento {
	name := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"a", "b", "b-x", "c"}).Draw(t, "type") + "/" + rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id")
	})
	members := rapid.SliceOfNDistinct(name, 0, 12, rapid.ID[string]).Draw(t, "names")
	mementos := make([]*rebind.Memento, len(members))
	for i, m := range members {
		parent := ""
		if rapid.IntRange(0, 3).Draw(t, "has parent") > 0 {
			parent = name.Draw(t, "parent")
		}
		mementos[i] = child(m, parent)
	}
	return mementos
}

// naive orders by the words of the rule: take the mementos by type and name, each
// behind its parents.
func naive(mementos []*rebind.Memento, types []string) (sound []string, stray map[string]string) {
	parents := make(map[string]string)
	var list []string
	for _, m := range mementos {
		parents[string(m.Name)] = string(m.Parent)
		list = append(list, string(m.Name))
	}
	rank := func(name string) int {
		typ, _, _ := strings.Cut(name, "/")
		if i := slices.Index(types, typ); i >= 0 {
			return i
		}
		return len(types)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	stray = make(map[string]string)
	for _, name := range list {
		var line []string
		for at := name; at != "" && len(line) <= len(list); at = parents[at] {
			if _, ok := parents[at]; !ok {
				line = nil
				break
			}
			line = append(line, at)
		}
		if line == nil || len(line) > len(list) {
			stray[name] = parents[name]
			continue
		}
		for _, at := range slices.Backward(line) {
			if !slices.Contains(sound, at) {
				sound = append(sound, at)
			}
		}
	}
	return sound, stray
}

func TestView_Ordered_LikeTheNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mementos := family(t)
		types := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.ID[string]).Draw(t, "types")
		got, strays := viewOf(mementos...).Ordered(types...)
		order := namesOf(got)
		sound, stray := naive(mementos, types)
		if strays != len(stray) || len(order) != len(mementos) {
			t.Fatalf("order = %v, stray %d, want %v, then %v", order, strays, sound, stray)
		}
		if !slices.Equal(order[:len(sound)], sound) {
			t.Fatalf("order = %v, want to begin with %v", order, sound)
		}
		// The strays come in any order that has parents first where it can: a
		// circle is the one place where it cannot.
		last := order[len(sound):]
		for name, parent := range stray {
			at, above := slices.Index(last, name), slices.Index(last, parent)
			if at < 0 {
				t.Fatalf("order = %v lacks the stray %s", order, name)
			}
			if above > at && !circles(stray, name) {
				t.Fatalf("order = %v has %s before its parent %s", order, name, parent)
			}
		}
	})
}

// circles reports whether name is its own ancestor.
func circles(parents map[string]string, name string) bool {
	at := parents[name]
	for range parents {
		if at == name {
			return true
		}
		at = parents[at]
	}
	return false
}
