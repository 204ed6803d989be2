package coordtest_test

import (
	"fmt"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exampleT takes the place of the *testing.T that an example does not have.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func newT() *exampleT { return &exampleT{} }

func (t *exampleT) end() {
	for _, f := range t.cleanups {
		defer f()
	}
}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (*exampleT) Helper() {}

func (*exampleT) Name() string { return "Example" }

func (*exampleT) Failed() bool { return false }

func (*exampleT) Logf(string, ...any) {}

func (*exampleT) Fatalf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	runtime.Goexit()
}
