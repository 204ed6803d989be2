package etcdstore_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/rebind"
)

// planeKeys are the keys of a plane, and what they are of.
type planeKeys struct {
	prefix, plane, node string
	lease, term         int64
	name                rebind.Name
}

func anyPlane(t *rapid.T) planeKeys {
	return planeKeys{
		// Few and alike, so that one begins with the other as often as not.
		prefix: rapid.SampledFrom([]string{"/c", "/c/a", "/c/a/mementos", "/ca"}).Draw(t, "prefix"),
		plane:  rapid.SampledFrom([]string{"a", "aa", "az", "a.z", "a-z", "anodes", "mementos"}).Draw(t, "plane"),
		node:   rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._~-]{0,5}`).Draw(t, "node"),
		lease:  rapid.Int64Min(1).Draw(t, "lease"),
		term:   rapid.Int64Min(1).Draw(t, "term"),
		name:   rebind.Name(rapid.StringMatching(`[a-z][a-z0-9_-]{0,3}/[A-Za-z0-9._~-]{3,6}`).Draw(t, "name")),
	}
}

func (k *planeKeys) all() []string {
	return etcdstore.Keys(k.prefix, k.plane, k.node, k.lease, k.term, k.name)
}

// Promise: no plane reads, watches or deletes where another has a key, however alike
// they are named. A prefix of one can only be that of another and more.
func TestKeys_PlanesNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyPlane(t), anyPlane(t)
		b.prefix = a.prefix
		if driver.CheckPlane(a.plane) != nil || driver.CheckPlane(b.plane) != nil || a.plane == b.plane {
			t.Skip("no two planes")
		}
		for _, key := range b.all() {
			for _, sp := range etcdstore.Spans(a.prefix, a.plane) {
				if sp[0] <= key && key < sp[1] {
					t.Fatalf("%s of plane %s lies in [%s, %s) of plane %s", key, b.plane, sp[0], sp[1], a.plane)
				}
			}
			if slices.Contains(a.all(), key) {
				t.Fatalf("%s is a key of both", key)
			}
		}
	})
}

// Promise: where planes of different prefixes can both be opened, none has a key where
// the other has its own.
func TestKeys_NoPlaneLiesWithinAnother(t *testing.T) {
	opens := func(k *planeKeys) bool {
		cfg := etcdstore.Config{Prefix: k.prefix, Plane: k.plane, Endpoints: []string{"127.0.0.1:1"}, TTL: etcdstore.MinTTL}
		return cfg.Validate() == nil
	}
	both := 0
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{
			"a", "b", "meta", "term", "nodes", "promise", "election", "mementos", "history", "left", "handover", "pause", "guard",
		})
		draw := func(label string) planeKeys {
			k := anyPlane(t)
			parts := rapid.SliceOfN(part, 2, 6).Draw(t, label)
			k.prefix, k.plane = "/"+strings.Join(parts[:len(parts)-1], "/"), parts[len(parts)-1]
			return k
		}
		a, b := draw("a"), draw("b")
		if a.prefix == b.prefix && a.plane == b.plane || !opens(&a) || !opens(&b) {
			t.Skip("no two planes")
		}
		both++
		within := a.prefix + "/" + a.plane + "/"
		for _, key := range b.all() {
			below, inside := strings.CutPrefix(key, within)
			first, _, _ := strings.Cut(below, "/")
			for _, own := range a.all() {
				word, _, _ := strings.Cut(strings.TrimPrefix(own, within), "/")
				if inside && first == word {
					t.Fatalf("%s of %s/%s lies among the keys of %s/%s", key, b.prefix, b.plane, a.prefix, a.plane)
				}
			}
		}
	})
	if both == 0 {
		t.Error("no two planes were tried")
	}
}

func TestConfig_PlanesWithinPlanesAreRefused(t *testing.T) {
	for _, c := range []struct {
		prefix, plane string
		ok            bool
	}{
		{"/coordinator", "default", true},
		{"/coordinator", "mementos", true},
		{"/mementos", "nodes", true},
		{"/coordinator/nodes", "p", true}, // below what can be no plane but of the prefix /coordinator
		{"/coordinator/default", "p", true},
		{"/coordinator/default", "mementos-2", true},
		{"/coordinator/default", "mementos", false},
		{"/coordinator/default", "nodes", false},
		{"/coordinator/default", "promise", false},
		{"/coordinator/default/mementos", "p", false},
		{"/coordinator/default/mementos/entity", "p", false},
		{"/a/b/c", "history", false},
		{"/a/b/c/left/d", "p", false},
	} {
		cfg := etcdstore.Config{Prefix: c.prefix, Plane: c.plane, Endpoints: []string{"127.0.0.1:1"}, TTL: etcdstore.MinTTL}
		if err := cfg.Validate(); (err == nil) != c.ok {
			t.Errorf("plane %s below %s: %v, want it to do: %t", c.plane, c.prefix, err, c.ok)
		}
	}
}

// Promise: keys of one plane are told apart and read back, and those of terms and of
// mementos sort as what they are of.
func TestKeys_SayWhatTheyAreOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, other := anyPlane(t), anyPlane(t)
		keys := k.all()
		for i, key := range keys {
			if !strings.HasPrefix(key, k.prefix+"/"+k.plane+"/") || slices.Contains(keys[:i], key) {
				t.Fatalf("%s is another's, or there twice", key)
			}
		}
		last := keys[len(keys)-1]
		if name := etcdstore.NameIn(k.prefix, k.plane, last); name != k.name {
			t.Fatalf("%s holds %s, want %s", last, name, k.name)
		}
		other.prefix, other.plane = k.prefix, k.plane
		for i, less := range map[int]bool{8: k.term < other.term, 9: k.name < other.name} {
			if (keys[i] < other.all()[i]) != less {
				t.Fatalf("%s and %s are not in the order of what they are of", keys[i], other.all()[i])
			}
		}
	})
}

// What somebody puts into a plane's own keys never makes the program fall over, and is
// nobody's record unless it is what its key says.
func FuzzPlane(f *testing.F) {
	for _, c := range readSeeds(f) {
		f.Add(c.Key, c.Text, c.Lease)
	}
	f.Add(formatPrefix+"/p/nodes/a", `{"id":"b"}`, int64(1))
	f.Add(formatPrefix+"/p/pause", `{`, int64(0))
	f.Add(formatPrefix+"/p/term", `{"term":9223372036854775807}`, int64(0))
	f.Fuzz(func(t *testing.T, key, value string, lease int64) {
		p := etcdstore.Shown(formatPrefix, "p", etcdstore.Kept{Key: key, Value: value, Lease: lease, Created: 1})
		for _, m := range p.Members {
			if key != formatPrefix+"/p/nodes/"+m.ID || lease == 0 {
				t.Errorf("%s on lease %d is the record of %q", key, lease, m.ID)
			}
		}
		if p.Held {
			t.Error("one key is a term and its holder")
		}
		var pause driver.Pause
		if over := json.Unmarshal([]byte(value), &pause) == nil && pause.Over(time.Now()); key == formatPrefix+"/p/pause" && over != (p.Pause == nil) {
			t.Errorf("pause = %+v, though it is over: %t", p.Pause, over)
		}
		if term := p.Holder.Term; term < 0 || term > driver.MaxTerm || key == formatPrefix+"/p/term" && (term == 0) != (len(p.Strays) == 1) {
			t.Errorf("term %d, strays %+v", term, p.Strays)
		}
	})
}

// What was read once is written so that it says the same when it is read again.
func FuzzRecord(f *testing.F) {
	for _, c := range readSeeds(f) {
		f.Add(c.Key, c.Text)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		once, err := etcdstore.Again(formatPrefix, "p", etcdstore.Kept{Key: key, Value: value, Lease: 1})
		if err != nil {
			return
		}
		twice, err := etcdstore.Again(formatPrefix, "p", etcdstore.Kept{Key: key, Value: once, Lease: 1})
		if err != nil || twice != once {
			t.Errorf("%q is read as %s, and that as %s, %v", value, once, twice, err)
		}
	})
}

// readSeeds returns what the fixtures hold beside mementos.
func readSeeds(f *testing.F) (seeds []cell) {
	f.Helper()
	for name := range fixtures() {
		for _, c := range readFixture(f, name) {
			if !strings.Contains(c.Key, "/mementos/") {
				seeds = append(seeds, c)
			}
		}
	}
	return seeds
}
