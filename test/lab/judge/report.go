package judge

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Report prints what was broken, and how much was checked.
func (v *Verdict) Report(w io.Writer) error {
	p := &printer{w: w}
	for _, f := range v.Findings {
		p.line("BROKEN %s", f)
	}
	p.line("%d revisions, %d terms; operations: %d acknowledged, %d refused, %d unknown", v.Revisions, len(v.Terms),
		v.Operations[evidence.OK], v.Operations[evidence.Refused], v.Operations[evidence.Unknown])
	p.line("compared with the store: %d copies, %d reads; linearizable: %d operations in %d histories", v.Copies, v.Reads, v.Linear, v.Histories)
	p.line("two masters that acted at once: %d µs", v.Overlap.Microseconds())
	for _, kind := range slices.Sorted(maps.Keys(v.Faults)) {
		p.line("%d × %s%s", v.Faults[kind], kind, v.tookAfter(kind))
	}
	return p.err
}

// tookAfter prints how long the failovers took that followed one kind of fault.
func (v *Verdict) tookAfter(kind string) string {
	var took []time.Duration
	for _, f := range v.Failovers {
		if f.Fault == kind {
			took = append(took, f.Took)
		}
	}
	if len(took) == 0 {
		return ""
	}
	slices.Sort(took)
	return fmt.Sprintf(": %d changes of master, after %s, half of them after %s, all after %s", len(took), took[0], took[len(took)/2], took[len(took)-1])
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
