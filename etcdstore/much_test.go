package etcdstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: a watch from the past does not bring more than fits memory: whoever asks for
// that is told to load instead.
func TestWatch_OfMuchFromThePast(t *testing.T) {
	l := newLab(t)
	s := l.node("a")
	before, err := s.Head(l.ctx())
	if err != nil {
		t.Fatal(err)
	}
	large := "memento/1 node=a term=1 op=x schema=0 type=text/plain\n" + strings.Repeat("x", 1<<20)
	watch := func(after rebind.Revision) error {
		w := s.Watch(l.ctx(), after)
		defer w.Close()
		_, err := w.Next(l.ctx())
		return err
	}
	var middle rebind.Revision
	for i := range 70 {
		resp, err := l.raw.Put(l.ctx(), fmt.Sprintf("%s/p/mementos/blob/b%d", l.prefix, i%2), large)
		if err != nil {
			t.Fatal(err)
		}
		if i == 60 {
			middle = rebind.Revision(resp.Header.Revision)
		}
	}
	if err := watch(before); !errors.Is(err, driver.ErrCompacted) {
		t.Errorf("70 MiB at once: %v, want ErrCompacted", err)
	}
	if err := watch(middle); err != nil {
		t.Errorf("9 MiB at once: %v", err)
	}
}
