package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exported is what real nodes show: of each metric its type, what it is, and the
// values that each label has been seen with.
type exported map[string]*exportedMetric

type exportedMetric struct {
	kind, help string
	labels     map[string][]string
}

// add takes in what a node shows.
func (e exported) add(families map[string]*dto.MetricFamily) {
	for name, f := range families {
		m := e[name]
		if m == nil {
			m = &exportedMetric{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp(), labels: make(map[string][]string)}
			e[name] = m
		}
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				if !slices.Contains(m.labels[l.GetName()], l.GetValue()) {
					m.labels[l.GetName()] = append(m.labels[l.GetName()], l.GetValue())
				}
			}
		}
	}
}

// metrics reads what a node shows to Prometheus, and holds it to the rules of
// Prometheus for names.
func (p *process) metrics() map[string]*dto.MetricFamily {
	p.t.Helper()
	a, err := call(context.Background(), http.MethodGet, p.url+"/metrics", nil, nil)
	if err != nil || a.status != http.StatusOK {
		p.t.Fatalf("GET /metrics of %s: %+v %v", p.name, a, err)
	}
	problems, err := promlint.New(bytes.NewReader(a.body)).Lint()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, found := range problems {
		p.t.Errorf("%s: %s", found.Metric, found.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.body))
	if err != nil {
		p.t.Fatal(err)
	}
	return families
}

// everythingExported is what two nodes show that have done what nodes do.
func everythingExported(t *testing.T) exported {
	t.Helper()
	c := newCluster(t, 2*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	b := c.node("b", "hot_standby", "--wait-for-master", "30s")
	b.await("HOT_STANDBY")
	b.mustPut("t/x", "1")
	if err := b.reads("t/x", "1"); err != nil {
		t.Fatal(err)
	}
	shown := make(exported)
	eventually(t, maxWait, func() error { // a renewal is due each third of a second
		families := a.metrics()
		if families["coordinator_lease_renew_duration_seconds"].GetMetric()[0].GetHistogram().GetSampleCount() == 0 {
			return fmt.Errorf("no renewal of the lease is counted")
		}
		shown.add(families)
		return nil
	})
	shown.add(b.metrics())
	return shown
}

// A node shows its own metrics, of which docs/OPERATIONS.md has the list, and those
// of Go and of its process. What etcd's code puts into Prometheus's default registry
// is not among them.
func TestMetrics_AreThoseOfTheList(t *testing.T) {
	shown := everythingExported(t)
	foreign := maps.Clone(shown)
	maps.DeleteFunc(foreign, func(name string, _ *exportedMetric) bool {
		return strings.HasPrefix(name, "coordinator_") || strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})
	if len(foreign) > 0 {
		t.Errorf("a node shows what is not its own: %v", slices.Sorted(maps.Keys(foreign)))
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if shown[name] == nil {
			t.Errorf("a node does not show %s", name)
		}
	}
	var want []string
	for name, m := range shown {
		if strings.HasPrefix(name, "coordinator_") {
			labels := strings.Join(slices.Sorted(maps.Keys(m.labels)), ", ")
			want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", name, m.kind, labels, m.help))
		}
	}
	slices.Sort(want)
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile("(?m)^\\| `coordinator_.*$").FindAllString(string(text), -1)
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("the list in docs/OPERATIONS.md is not what nodes show (-shown +listed):\n%s", diff)
	}
	t.Run("alerts", func(t *testing.T) { checkAlerts(t, shown, string(text)) })
	t.Run("dashboard", func(t *testing.T) { checkDashboard(t, shown) })
}
