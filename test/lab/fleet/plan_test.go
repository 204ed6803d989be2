package fleet

import (
	"strings"
	"testing"
	"time"
)

// Promise: a seed always draws the same plan, and a plan that is written down is read back
// unchanged.
func TestPlan_IsWhatItsTextSays(t *testing.T) {
	for seed := range uint64(50) {
		p := Draw(seed, time.Minute)
		if len(p.Steps) < 3 {
			t.Errorf("seed %d has %d steps for a minute", seed, len(p.Steps))
		}
		text := p.String()
		if again := Draw(seed, time.Minute).String(); again != text {
			t.Errorf("seed %d says\n%s\nand then\n%s", seed, text, again)
		}
		read, err := ParsePlan(text)
		if err != nil || read.String() != text {
			t.Errorf("seed %d:\n%s\nis read as\n%s\n%v", seed, text, read, err)
		}
	}
}

func TestParsePlan_Refuses(t *testing.T) {
	for name, text := range map[string]string{
		"no ttl":               "seed 1\n1s kill master 1s",
		"an unknown kind":      "ttl 2s\n1s tickle master 1s",
		"a role it is not for": "ttl 2s\n1s kill leader 1s",
		"an invalid wait":      "ttl 2s\nsoon kill master 1s",
		"an invalid length":    "ttl 2s\n1s kill master long",
		"a word":               "ttl 2s\nkill",
	} {
		if p, err := ParsePlan(text); err == nil {
			t.Errorf("%s: read as\n%s", name, p)
		}
	}
}

// Promise: within a few seeds every kind of fault is drawn for every role.
func TestDraw_ComesToAllKinds(t *testing.T) {
	missing := make(map[string]bool)
	for _, name := range urn() {
		for _, role := range kinds()[name].on {
			missing[name+" "+role] = true
		}
	}
	total := len(missing)
	for seed := range uint64(100) {
		for _, s := range Draw(seed, time.Minute).Steps {
			delete(missing, s.What+" "+s.On)
		}
	}
	t.Logf("%d kinds of faults by role", total)
	if len(missing) > 0 {
		t.Errorf("never drawn in 100 seeds: %v", missing)
	}
}

// Promise: a fault that must cost nothing has no limit, and the others promise a master in
// time.
func TestKinds_Limits(t *testing.T) {
	for name, k := range kinds() {
		for _, role := range k.on {
			for _, ttl := range []time.Duration{shortTTL, longTTL} {
				s := Step{What: name, On: role, For: time.Second}
				cost, limit := k.mayCost(s, ttl), k.limit(s, ttl)
				if cost != (limit > 0) || cost && limit < ttl {
					t.Errorf("%s-%s at ttl %s: may cost a term: %t, limit %s", name, role, ttl, cost, limit)
				}
			}
		}
	}
}

func TestAlarms(t *testing.T) {
	const harmless = `{"level":"warn","ts":"2026-01-01T00:00:00.000Z","msg":"campaign ended"}`
	for line, bad := range map[string]bool{
		harmless: false, "": false,
		`{"level":"fatal","ts":"2026-01-01T00:00:00.000Z","msg":"x"}`: true,
		"panic: runtime error": true,
		"WARNING: DATA RACE":   true,
	} {
		if found := alarms("a", []byte(strings.Repeat(harmless+"\n", 3)+line+"\n")); (len(found) > 0) != bad {
			t.Errorf("%q: %v", line, found)
		}
	}
}
