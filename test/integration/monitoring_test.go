package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// targetLabels are those that Prometheus gives to everything it scrapes.
var targetLabels = []string{"job", "instance"}

// vocabulary is what a query may speak of.
type vocabulary struct {
	shown    exported
	recorded map[string][]string // the labels of what rules record
}

// find returns the metric that a name in a query is of, and the labels it can have.
func (v *vocabulary) find(name string) (*exportedMetric, []string, bool) {
	if name == "up" { // of Prometheus's own making
		return &exportedMetric{}, targetLabels, true
	}
	if labels, ok := v.recorded[name]; ok {
		return &exportedMetric{}, labels, true
	}
	m, labels := v.shown[name], targetLabels
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, ok := strings.CutSuffix(name, suffix)
		if of := v.shown[base]; m == nil && ok && of != nil && of.kind == "histogram" {
			m = of
			if suffix == "_bucket" {
				labels = append(slices.Clone(labels), "le")
			}
		}
	}
	if m == nil {
		return nil, nil, false
	}
	for label := range m.labels {
		labels = append(slices.Clone(labels), label)
	}
	return m, labels, true
}

// check tells everything in a query that no node shows. It returns the labels that
// what comes of the query can have, beside those of its target: those it groups by,
// and those of what rules record.
func (v *vocabulary) check(query string) (labels []string, err error) {
	parsed, err := metricsql.Parse(query)
	if err != nil {
		return nil, err
	}
	var known, grouped, recorded []string // known are the labels of all that the query speaks of
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			metric, of, wrong := v.checkSelector(e)
			known, err = append(known, of...), errors.Join(err, wrong)
			recorded = append(recorded, v.recorded[metric]...)
		case *metricsql.FuncExpr:
			err = errors.Join(err, checkRange(e))
		case *metricsql.AggrFuncExpr:
			grouped = append(grouped, e.Modifier.Args...)
		case *metricsql.BinaryOpExpr:
			grouped = append(append(grouped, e.GroupModifier.Args...), e.JoinModifier.Args...)
		}
	})
	for _, label := range grouped {
		if !slices.Contains(known, label) {
			err = errors.Join(err, fmt.Errorf("nothing in the query has a label %s", label))
		}
	}
	return append(grouped, recorded...), err
}

// checkSelector returns the name of what a selector selects, and the labels that can
// have.
func (v *vocabulary) checkSelector(e *metricsql.MetricExpr) (name string, labels []string, err error) {
	for _, filters := range e.LabelFilterss {
		var metric *exportedMetric
		for _, f := range filters {
			if f.Label == "__name__" {
				var ok bool
				if metric, labels, ok = v.find(f.Value); !ok {
					return "", nil, fmt.Errorf("no node shows %s", f.Value)
				}
				name = f.Value
				continue
			}
			if metric == nil {
				return "", nil, fmt.Errorf("selector %s names no metric", e.AppendString(nil))
			}
			values := metric.labels[f.Label]
			switch {
			case !slices.Contains(labels, f.Label):
				err = errors.Join(err, fmt.Errorf("label %s in %s is on nothing that a node shows", f.Label, e.AppendString(nil)))
			case !f.IsRegexp && len(values) > 0 && !slices.Contains(values, f.Value):
				err = errors.Join(err, fmt.Errorf("%s is never %q, but one of %q", f.Label, f.Value, values))
			}
		}
	}
	return name, labels, err
}

// checkRange wants a range where Prometheus does: the parser is of a language that
// does without.
func checkRange(e *metricsql.FuncExpr) error {
	switch e.Name {
	case "rate", "increase", "changes":
		rollup, ok := e.Args[0].(*metricsql.RollupExpr)
		if !ok || rollup.Window == nil {
			return fmt.Errorf("%s has no range", e.Name)
		}
	}
	return nil
}

// rule is one of deploy/prometheus/alerts.yml.
type rule struct {
	Record, Alert, Expr string
	For                 string            `json:"for"`
	Labels              map[string]string `json:"labels"`
	Annotations         struct {
		Summary, Description string
		RunbookURL           string `json:"runbook_url"`
	} `json:"annotations"`
}

// checkAlerts holds the alert rules to what nodes show, and to what is told of them.
func checkAlerts(t *testing.T, shown exported, operations string) {
	text, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	v := vocabulary{shown: shown, recorded: make(map[string][]string)}
	var alerts []string
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			labels, err := v.check(r.Expr)
			if err != nil {
				t.Errorf("%s%s: %v", r.Record, r.Alert, err)
			}
			if r.Record != "" {
				v.recorded[r.Record] = slices.Concat(targetLabels, labels)
				continue
			}
			if slices.Contains(alerts, r.Alert) {
				t.Errorf("there are two alerts %s", r.Alert)
			}
			alerts = append(alerts, r.Alert)
			if err := r.check(operations, slices.Concat(targetLabels, labels)); err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
		}
	}
	if len(alerts) < 10 {
		t.Errorf("found %d alerts, that is not all", len(alerts))
	}
	told := regexp.MustCompile("(?m)^\\| `(Coordinator\\w+)`").FindAllStringSubmatch(operations, -1)
	for _, row := range told {
		if !slices.Contains(alerts, row[1]) {
			t.Errorf("docs/OPERATIONS.md tells of %s, which is no alert", row[1])
		}
	}
}

var (
	templateLabel = regexp.MustCompile(`\$labels\.(\w+)`)
	notOfAnchor   = regexp.MustCompile(`[^a-z0-9 -]`)
)

// check tells what an alert lacks for whom it wakes. It can have the given labels.
func (r *rule) check(operations string, labels []string) error {
	var err error
	if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
		err = fmt.Errorf("severity is %q", r.Labels["severity"])
	}
	if r.For != "" {
		_, bad := model.ParseDuration(r.For)
		err = errors.Join(err, bad)
	}
	if r.Annotations.Summary == "" || r.Annotations.Description == "" {
		err = errors.Join(err, errors.New("it does not say what is wrong"))
	}
	for _, used := range templateLabel.FindAllStringSubmatch(r.Annotations.Summary+r.Annotations.Description, -1) {
		if !slices.Contains(labels, used[1]) {
			err = errors.Join(err, fmt.Errorf("its text uses a label %s that it does not have", used[1]))
		}
	}
	if !strings.Contains(operations, "| `"+r.Alert+"` | "+r.Labels["severity"]+" |") {
		err = errors.Join(err, errors.New("docs/OPERATIONS.md has no row for it with its severity"))
	}
	_, anchor, _ := strings.Cut(r.Annotations.RunbookURL, "docs/OPERATIONS.md#")
	for line := range strings.Lines(operations) {
		title, ok := strings.CutPrefix(strings.TrimLeft(strings.TrimSpace(line), "#"), " ")
		slug := strings.ReplaceAll(notOfAnchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		if ok && strings.HasPrefix(line, "#") && slug == anchor {
			return err
		}
	}
	return errors.Join(err, fmt.Errorf("runbook %q is not a part of docs/OPERATIONS.md", r.Annotations.RunbookURL))
}

// panel is what is looked at of a panel of the dashboard.
type panel struct {
	ID      int
	Type    string
	Title   string
	Targets []struct {
		Expr         string
		LegendFormat string `json:"legendFormat"`
	}
}

// checkDashboard holds the dashboard's queries to what nodes show.
func checkDashboard(t *testing.T, shown exported) {
	text, err := os.ReadFile("../../deploy/grafana/coordinator.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		ID         *int
		UID        string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.ID != nil || dashboard.UID == "" {
		t.Error("the dashboard carries an id of the Grafana it was made in, or no uid")
	}
	v := vocabulary{shown: shown}
	filled := strings.NewReplacer("$__rate_interval", "5m", "$plane", "p", "$node", "a")
	check := func(where, query string) {
		if _, err := v.check(filled.Replace(query)); err != nil {
			t.Errorf("%s: %v\n%s", where, err, query)
		}
	}
	queries := 0
	for i, p := range dashboard.Panels {
		if slices.ContainsFunc(dashboard.Panels[:i], func(other panel) bool { return other.ID == p.ID }) {
			t.Errorf("panel %s has the id of another", p.Title)
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries++
			check("panel "+p.Title, target.Expr)
		}
	}
	if queries < 20 {
		t.Errorf("found %d queries, that is not all", queries)
	}
	for _, a := range dashboard.Annotations.List {
		check("annotation", a.Expr)
	}
	labelValues := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, variable := range dashboard.Templating.List {
		if variable.Type != "query" {
			continue
		}
		parts := labelValues.FindStringSubmatch(variable.Definition)
		if parts == nil {
			t.Errorf("variable %s is made of %q", variable.Name, variable.Definition)
			continue
		}
		check("variable "+variable.Name, fmt.Sprintf("count by (%s) (%s)", parts[2], parts[1]))
	}
}
