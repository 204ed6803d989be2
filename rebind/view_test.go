package rebind_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/rebind"
)

// sample is a view of two mementos that can be read and two that cannot.
func sample() *rebind.View {
	x := rebind.Memento{Name: "entity/x", Content: rebind.Content{Payload: []byte("12345")}, Created: 2, Modified: 4, Version: 2}
	y := rebind.Memento{Name: "policy/y", Created: 3, Modified: 3, Version: 1}
	return viewAt(9,
		rebind.Change{Name: "entity/x", Memento: &x, Revision: 4},
		rebind.Change{Name: "policy/y", Memento: &y, Revision: 3},
		rebind.Change{Name: "policy/bad", Fault: "no header", Revision: 5},
		rebind.Change{Name: "entity/bad", Fault: "unknown format", Revision: 6})
}

func TestView_Get(t *testing.T) {
	v := sample()
	m, err := v.Get("entity/x")
	if err != nil || m.Name != "entity/x" || string(m.Payload) != "12345" || m.Created != 2 || m.Modified != 4 || m.Version != 2 {
		t.Errorf("memento = %+v, error %v", m, err)
	}
	for _, name := range []rebind.Name{"entity/z", "entity/", "", "x", "entity/xx", "zzz/x"} {
		if m, err := v.Get(name); m != nil || !errors.Is(err, rebind.ErrNotFound) || errors.Is(err, rebind.ErrQuarantined) {
			t.Errorf("get %q = %v, %v, want ErrNotFound", name, m, err)
		}
	}
	m, err = v.Get("entity/bad")
	if m != nil || !errors.Is(err, rebind.ErrQuarantined) || errors.Is(err, rebind.ErrNotFound) {
		t.Fatalf("get of what cannot be read = %v, %v, want ErrQuarantined", m, err)
	}
	for _, part := range []string{"revision 6", "unknown format"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestView_Sums(t *testing.T) {
	v := sample()
	if v.Revision() != 9 || v.Len() != 2 || v.FaultCount() != 2 {
		t.Errorf("revision %d, %d mementos, %d faults, want 9, 2, 2", v.Revision(), v.Len(), v.FaultCount())
	}
	if want := int64(len("entity/x") + len("12345") + len("policy/y")); v.Bytes() != want {
		t.Errorf("bytes = %d, want %d", v.Bytes(), want)
	}
	want := []rebind.Change{
		{Name: "entity/bad", Revision: 6, Fault: "unknown format"},
		{Name: "policy/bad", Revision: 5, Fault: "no header"},
	}
	if diff := gocmp.Diff(want, v.Faults()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	empty := viewOf()
	if empty.Len() != 0 || empty.Bytes() != 0 || len(empty.Faults()) != 0 {
		t.Errorf("an empty view has %d mementos of %d bytes, faults %v", empty.Len(), empty.Bytes(), empty.Faults())
	}
}

// Promise: a local read by id allocates nothing, found or not.
func TestView_GetDoesNotAllocate(t *testing.T) {
	mementos := make([]*rebind.Memento, 10_000)
	for i := range mementos {
		mementos[i] = child(fmt.Sprintf("entity/%05d", i), "")
	}
	v := viewOf(mementos...)
	for _, name := range []rebind.Name{"entity/00000", "entity/04711", "entity/09999", "entity/absent"} {
		if n := testing.AllocsPerRun(1000, func() { _, _ = v.Get(name) }); n != 0 {
			t.Errorf("get %s allocates %v times", name, n)
		}
	}
}

func TestView_Listings(t *testing.T) {
	v := viewOf(
		child("app/b", ""), child("app/a", ""), child("app/ab", ""), child("app/B", ""),
		child("app-x/a", ""), child("app_x/a", ""), child("b/a", ""),
	)
	for _, c := range []struct {
		name string
		list iter.Seq[*rebind.Memento]
		want string
	}{
		{"from the beginning", v.From(""), "app-x/a app/B app/a app/ab app/b app_x/a b/a"},
		{"from one that is there", v.From("app/ab"), "app/ab app/b app_x/a b/a"},
		{"from one that is not", v.From("app/aa"), "app/ab app/b app_x/a b/a"},
		{"from beyond the last", v.From("c"), ""},
		{"of a type", v.OfType("app", ""), "app/B app/a app/ab app/b"},
		{"of a type whose name goes on", v.OfType("app-x", ""), "app-x/a"},
		{"of a type with a prefix", v.OfType("app", "a"), "app/a app/ab"},
		{"of a type with a whole id for prefix", v.OfType("app", "ab"), "app/ab"},
		{"of a type with a prefix that none has", v.OfType("app", "abc"), ""},
		{"of half a type", v.OfType("ap", ""), ""},
		{"of the last type", v.OfType("b", ""), "b/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // a listing can be read again
				got := strings.Join(namesOf(slices.Collect(c.list)), " ")
				if got != c.want {
					t.Errorf("names = %q, want %q", got, c.want)
				}
			}
			for range c.list {
				break // must not go on after that
			}
		})
	}
}
