package rebind_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/rebind"
)

func TestOp_Met(t *testing.T) {
	for _, c := range []struct {
		name   string
		expect rebind.Revision
		met    map[rebind.Revision]bool
	}{
		{"anything", 0, map[rebind.Revision]bool{0: true, 1: true, 7: true}},
		{"nothing there", rebind.Absent, map[rebind.Revision]bool{0: true, 1: false, 7: false}},
		{"something there", rebind.Present, map[rebind.Revision]bool{0: false, 1: true, 7: true}},
		{"an exact revision", 7, map[rebind.Revision]bool{0: false, 1: false, 6: false, 7: true, 8: false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for actual, want := range c.met {
				if got := (&rebind.Op{Expect: c.expect}).Met(actual); got != want {
					t.Errorf("met by revision %d = %t, want %t", actual, got, want)
				}
			}
		})
	}
}

// deletes returns n operations on mementos of their own.
func deletes(n int) []rebind.Op {
	ops := make([]rebind.Op, n)
	for i := range ops {
		ops[i].Name = rebind.Name(fmt.Sprintf("entity/%d", i))
	}
	return ops
}

// one is a delta of one put.
func one(c rebind.Content) rebind.Delta {
	return rebind.Delta{Ops: []rebind.Op{{Name: "entity/x", Put: &c}}}
}

func TestDelta_Check(t *testing.T) {
	named := func(id string) rebind.Delta { return rebind.Delta{ID: id, Ops: deletes(1)} }
	expecting := func(e rebind.Revision) rebind.Delta {
		return rebind.Delta{Ops: []rebind.Op{{Name: "entity/x", Expect: e}}}
	}
	for _, c := range []struct {
		name  string
		delta rebind.Delta
		want  error
	}{
		{"one delete", rebind.Delta{Ops: deletes(1)}, nil},
		{"many operations", rebind.Delta{Ops: deletes(1000)}, nil},
		{"no operation", rebind.Delta{ID: "x"}, rebind.ErrInvalid},
		{"a memento twice", rebind.Delta{Ops: append(deletes(3), deletes(1)...)}, rebind.ErrInvalid},
		{"no name", rebind.Delta{Ops: []rebind.Op{{}}}, rebind.ErrInvalid},
		{"a bad name behind good ones", rebind.Delta{Ops: append(deletes(3), rebind.Op{Name: "entity/"})}, rebind.ErrInvalid},
		{"the longest id", named(strings.Repeat("i", 128)), nil},
		{"an id one too long", named(strings.Repeat("i", 129)), rebind.ErrInvalid},
		{"an id of all that prints", named("!~AZaz09/+="), nil},
		{"an id with a space", named("a b"), rebind.ErrInvalid},
		{"an id with a line break", named("a\n"), rebind.ErrInvalid},
		{"an id beyond ASCII", named("é"), rebind.ErrInvalid},
		{"an id that is no text", named("\xff"), rebind.ErrInvalid},
		{"expecting none", expecting(rebind.Absent), nil},
		{"expecting one", expecting(rebind.Present), nil},
		{"expecting a revision", expecting(1 << 40), nil},
		{"expecting nonsense", expecting(-3), rebind.ErrInvalid},
		{"empty content", one(rebind.Content{}), nil},
		{"a parent", one(rebind.Content{Parent: "entity/p"}), nil},
		{"itself as parent", one(rebind.Content{Parent: "entity/x"}), nil},
		{"a bad parent", one(rebind.Content{Parent: "entity"}), rebind.ErrInvalid},
		{"a schema", one(rebind.Content{Schema: 3}), nil},
		{"a negative schema", one(rebind.Content{Schema: -1}), rebind.ErrInvalid},
		{"a media type", one(rebind.Content{ContentType: "application/vnd.x+json; charset=utf-8"}), nil},
		{"the longest media type", one(rebind.Content{ContentType: "a/" + strings.Repeat("b", 198)}), nil},
		{"a media type one too long", one(rebind.Content{ContentType: "a/" + strings.Repeat("b", 199)}), rebind.ErrInvalid},
		{"a media type with a line break", one(rebind.Content{ContentType: "text/plain\r\nX: y"}), rebind.ErrInvalid},
		{"a media type beyond ASCII", one(rebind.Content{ContentType: "text/plain; a=\"é\""}), rebind.ErrInvalid},
		{"what is no media type", one(rebind.Content{ContentType: "text/"}), rebind.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.delta.Check()
			if !errors.Is(err, c.want) {
				t.Errorf("check = %v, want %v", err, c.want)
			}
		})
	}
}

// A refusal of a delta that a person wrote has to say which part of it is wrong.
func TestDelta_CheckSaysWhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		delta rebind.Delta
		want  []string
	}{
		{"a memento twice", rebind.Delta{Ops: append(deletes(3), deletes(1)...)}, []string{"operations 0 and 3", "entity/0"}},
		{"a bad name", rebind.Delta{Ops: append(deletes(2), rebind.Op{Name: "Entity/x"})}, []string{"operation 2", "Entity"}},
		{"a bad parent", one(rebind.Content{Parent: "p"}), []string{"entity/x", "parent"}},
	} {
		err := c.delta.Check()
		for _, part := range c.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v does not say %q", c.name, err, part)
			}
		}
	}
}
