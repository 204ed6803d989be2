package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// Parts of the import order that several packages share.
var (
	core    = []string{"modes", "rebind", "coordinator/driver", "coordinator"}
	httpapi = []string{"internal/httpapi", "internal/httpapi/client", "internal/httpapi/wire", "internal/credentials"}
	// support is what any test may import in addition to what its package may.
	support = slices.Concat(core, []string{"coordinator/coordtest", "coordinator/coordtest/etcdtest", "coordinator/coordtest/memstore", "coordinator/coordtest/storetest", "internal/certtest", "etcdstore/embedded", "etcdstore/etcdauth", "internal/onestream", "internal/policy", "internal/replica", "rebind/coalesce"})
	// outer is everything that the command may be made of.
	outer = slices.Concat(core, httpapi, []string{"etcdstore", "etcdstore/embedded", "etcdstore/etcdauth", "internal/archive", "internal/clock", "internal/filelock", "internal/freeport", "internal/hostport", "internal/logbuffer", "internal/telemetry", "internal/telemetry/otlp", "internal/apiserver"})
)

// layers is the import order: which packages of the module each package may import.
// A new package has to be added here first. A name with "/..." stands for all packages
// below it. No package may import cmd, and only tests may import test.
var layers = map[string][]string{
	"modes":                           {},
	"rebind":                          {"modes", "internal/retry"},
	"rebind/coalesce":                 {"rebind", "coordinator/driver", "internal/retry"},
	"coordinator/driver":              {"modes", "rebind"},
	"internal/policy":                 {"modes", "coordinator/driver"},
	"internal/replica":                {"rebind", "coordinator/driver", "internal/clock", "internal/retry"},
	"coordinator":                     {"modes", "rebind", "coordinator/driver", "internal/clock", "internal/policy", "internal/replica", "internal/retry"},
	"etcdstore":                       slices.Concat(core, []string{"internal/clock", "internal/hostport", "internal/onestream", "internal/pemfile", "internal/retry", "internal/tlserror"}),
	"etcdstore/embedded":              {"internal/filelock", "internal/hostport"},
	"etcdstore/etcdauth":              {"modes", "etcdstore"},
	"internal/hostport":               {},
	"internal/filelock":               {},
	"internal/freeport":               {},
	"internal/logbuffer":              {},
	"internal/lint":                   {},
	"internal/archive":                {"rebind"},
	"internal/certtest":               {},
	"internal/credentials":            {"internal/pemfile", "internal/tlserror"},
	"internal/clock":                  {},
	"internal/onestream":              {},
	"internal/pemfile":                {},
	"internal/retry":                  {},
	"internal/tlserror":               {},
	"coordinator/coordtest":           slices.Concat(core, []string{"coordinator/coordtest/memstore"}),
	"coordinator/coordtest/etcdtest":  slices.Concat(core, []string{"coordinator/coordtest", "etcdstore", "etcdstore/embedded"}),
	"coordinator/coordtest/memstore":  core,
	"coordinator/coordtest/storetest": core,
	"internal/httpapi":                slices.Concat(core, httpapi, []string{"internal/archive", "internal/clock", "internal/policy"}),
	"internal/httpapi/...":            slices.Concat(core, httpapi, []string{"internal/hostport"}),
	"internal/telemetry":              slices.Concat(core, []string{"internal/policy", "internal/replica", "internal/httpapi", "internal/httpapi/wire"}),
	"internal/telemetry/otlp":         {"internal/httpapi/wire", "internal/telemetry"},
	"internal/apiserver":              {"coordinator", "internal/clock", "internal/credentials", "internal/httpapi", "internal/telemetry"},
	"coordinator/coordhttp":           {"coordinator", "coordinator/driver", "internal/apiserver", "internal/telemetry"},
	"examples/...":                    slices.Concat(core, []string{"coordinator/coordhttp", "etcdstore", "examples/..."}),
	"cmd/coordinator":                 outer,
	"test/lab/evidence":               {},
	"test/lab/judge":                  {"test/lab/evidence"},
	"test/...":                        slices.Concat(outer, support, []string{"coordinator/coordhttp", "test/..."}),
	"bench":                           slices.Concat(outer, support),
	"bench/...":                       {},
	"tools/...":                       {},
}

// examples is what a package's tests may also import, to show how a program puts the
// packages together.
var examples = map[string][]string{"coordinator": {"etcdstore"}}

// importDirection finds imports against the import order.
func importDirection(files []*source) []string {
	var findings []string
	for _, s := range goFiles(files) {
		allowed, ok := mayImport(s)
		if !ok {
			findings = append(findings, fmt.Sprintf("%s: package %s has no place in the import order: give it one in layers", s.path, s.dir()))
			continue
		}
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			ours, mine := strings.CutPrefix(imported, module+"/")
			if err != nil || !mine {
				continue
			}
			if _, ok := match(allowed, ours); !ok {
				findings = append(findings, s.report(spec, "%s may not import %s", s.dir(), ours))
			}
		}
	}
	return findings
}

// mayImport returns which packages of the module s may import, and whether its package
// is in the import order.
func mayImport(s *source) ([]string, bool) {
	var names []string
	for name := range layers {
		names = append(names, name)
	}
	place, ok := match(names, s.dir())
	if !ok {
		return nil, false
	}
	allowed := layers[place]
	if s.test() {
		allowed = slices.Concat(allowed, support, examples[s.dir()], []string{s.dir()})
	}
	return allowed, true
}

// match returns the name among names that is pkg or, if there is none, the one that
// stands for the packages it is among.
func match(names []string, pkg string) (string, bool) {
	if slices.Contains(names, pkg) {
		return pkg, true
	}
	for _, name := range names {
		if below, ok := strings.CutSuffix(name, "..."); ok && strings.HasPrefix(pkg+"/", below) {
			return name, true
		}
	}
	return "", false
}

// unwanted lists what a program that uses the library must not have to compile.
var unwanted = append([]string{
	"github.com/prometheus",
	"go.opentelemetry.io",
	module + "/internal/httpapi",
}, unwantedToServe...)

// unwantedToServe lists what a program that also serves the API of its node must not have to
// compile.
var unwantedToServe = []string{
	"go.etcd.io/etcd/server",
	"go.etcd.io/bbolt",
	"github.com/spf13/cobra",
	"github.com/spf13/pflag",
	"go.opentelemetry.io/otel/exporters",
	"go.opentelemetry.io/otel/sdk",
	"go.opentelemetry.io/contrib",
	"testing",
	module + "/cmd",
	module + "/etcdstore/embedded",
}

// importClosure finds the unwanted among everything that pkg imports, also indirectly.
func importClosure(pkg string, unwanted, deps []string) []string {
	var findings []string
	for _, dep := range deps {
		for _, bad := range unwanted {
			if strings.HasPrefix(dep+"/", bad+"/") {
				findings = append(findings, fmt.Sprintf("%s makes its users compile %s", pkg, dep))
				break
			}
		}
	}
	return findings
}

// mayImportMetrics lists the files that may import the libraries for metrics and traces.
var mayImportMetrics = allow{
	"internal/telemetry/": "makes the metrics and traces of all packages",
	"test/":               "tests read what nodes export",
}

// metricsImports finds imports of the libraries for metrics and traces in other files.
func metricsImports(files []*source) []string {
	return confined(files, mayImportMetrics, "Prometheus or OpenTelemetry: use internal/telemetry", func(_ *source, n ast.Node) bool {
		spec, ok := n.(*ast.ImportSpec)
		if !ok {
			return false
		}
		imported := strings.Trim(spec.Path.Value, `"`)
		return strings.HasPrefix(imported, "github.com/prometheus/") || strings.HasPrefix(imported, "go.opentelemetry.io/")
	})
}
