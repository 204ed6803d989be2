package mutants_test

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/mutants"
)

var (
	all  = flag.Bool("all", false, "catch all mutants, instead of the two most dangerous")
	lab  = flag.Bool("lab", false, "also catch them with whole planes in virtual time")
	only = flag.String("only", "", "catch only the mutants of these names, separated by commas")
)

// TestMutants_Apply checks the table against the product's text.
func TestMutants_Apply(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants.All() {
		if _, err := m.Overlay(root(t), t.TempDir()); err != nil {
			t.Error(err)
		}
		if names[m.Name] || m.Name == "" || m.Rule == "" || m.Invariant == "" || len(m.Edits) == 0 || len(m.Catchers) == 0 {
			t.Errorf("mutant %+v lacks something, or its name is another's", m)
		}
		names[m.Name] = true
	}
}

// TestMutants_AreCaught runs the tests that have to fail.
func TestMutants_AreCaught(t *testing.T) {
	var table strings.Builder
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(rows, "MUTANT\tINVARIANT\tCAUGHT BY\tSECONDS")
	for _, m := range chosen(t) {
		t.Run(m.Name, func(t *testing.T) {
			overlay, err := m.Overlay(root(t), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			catchers := m.Catchers
			if *lab && m.Lab != "" {
				catchers = append(catchers, m.InLab())
			}
			for _, c := range catchers {
				began := time.Now()
				by := c.String()
				if err := c.Catch(t.Context(), root(t), overlay); err != nil {
					by = "NOT BY " + by
					t.Errorf("%s\nbreaks the rule that %s, and %s does not fail as it has to: %v", m.Name, m.Rule, &c, err)
				}
				fmt.Fprintf(rows, "%s\t%s\t%s\t%.1f\n", m.Name, m.Invariant, by, time.Since(began).Seconds())
			}
		})
	}
	rows.Flush()
	t.Logf("\n%s", &table)
}

func chosen(t *testing.T) []mutants.Mutant {
	switch known := mutants.All(); {
	case *only != "":
		var some []mutants.Mutant
		for name := range strings.SplitSeq(*only, ",") {
			m, err := mutants.Named(name)
			if err != nil {
				t.Fatal(err)
			}
			some = append(some, m)
		}
		return some
	case *all:
		return known
	default:
		return known[:2]
	}
}

// root is the module's root.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
