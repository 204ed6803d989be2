package logbuffer_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordinator-ha/coordinator/internal/logbuffer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func notice(lost int64) []byte { return fmt.Appendf(nil, "%d lost\n", lost) }

// valve is a writer that can block or fail.
type valve struct {
	mu   sync.Mutex
	open *sync.Cond
	shut bool
	err  error
	got  bytes.Buffer
}

func newValve() *valve {
	v := new(valve)
	v.open = sync.NewCond(&v.mu)
	return v
}

func (v *valve) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.shut {
		v.open.Wait()
	}
	if v.err != nil {
		return 0, v.err
	}
	return v.got.Write(b)
}

func (v *valve) set(shut bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut, v.err = shut, err
	v.open.Broadcast()
}

func (v *valve) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.got.String()
}

func line(b *logbuffer.Buffer, n int) { fmt.Fprintf(b, "%07d\n", n) }

func TestBuffer_WritesAllLinesInOrder(t *testing.T) {
	v := newValve()
	b := logbuffer.New(v, notice)
	var want strings.Builder
	for n := range 10_000 {
		line(b, n)
		fmt.Fprintf(&want, "%07d\n", n)
	}
	if err := b.Close(); err != nil || v.text() != want.String() || b.Lost() != 0 {
		t.Errorf("close: %v; %d of %d bytes, %d lost", err, len(v.text()), want.Len(), b.Lost())
	}
}

// A reader that does not read blocks nobody. It learns how much it has missed, and later
// lines are complete.
func TestBuffer_CountsWhatNobodyReads(t *testing.T) {
	v := newValve()
	v.set(true, nil)
	b := logbuffer.New(v, notice)
	const n = 3 * logbuffer.Size / 8
	for i := range n {
		line(b, i)
	}
	if lost := b.Lost(); lost < n/3-1 || lost > 2*n/3 || b.Losing() != lost {
		t.Fatalf("%d of %d lines lost, %d of them not reported", lost, n, b.Losing())
	}
	began := time.Now()
	if err := b.Sync(); !errors.Is(err, logbuffer.ErrUnread) {
		t.Errorf("sync = %v, want ErrUnread", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("sync took %s", took)
	}
	lost := b.Lost()
	v.set(false, nil)
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(b, "after")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(v.text(), "\n")
	if want := fmt.Sprintf("%d lost", lost); lines[len(lines)-3] != want && !strings.Contains(v.text(), want+"\n") {
		t.Errorf("the log ends with %q, want it to say %q", lines[len(lines)-3:], want)
	}
	if int64(len(lines))-3+lost != n || !strings.HasSuffix(v.text(), "\nafter\n") {
		t.Errorf("%d lines read and %d lost of %d; the log ends with %q", len(lines)-3, lost, n, lines[len(lines)-3:])
	}
	if b.Losing() != 0 {
		t.Errorf("%d lines are still not reported", b.Losing())
	}
}

// A log that fails, such as a file on a full disk, drops lines and reports it later.
func TestBuffer_CountsWhatCannotBeWritten(t *testing.T) {
	v := newValve()
	v.set(false, errors.New("full"))
	b := logbuffer.New(v, notice)
	for n := range 3 {
		line(b, n)
	}
	if err := b.Sync(); err != nil || b.Losing() != 3 {
		t.Fatalf("sync: %v, %d lines lost, want 3", err, b.Losing())
	}
	v.set(false, nil)
	line(b, 3)
	if err := b.Close(); err != nil || v.text() != "0000003\n3 lost\n" {
		t.Errorf("close: %v, the log is %q", err, v.text())
	}
}

// A real pipe without a reader.
func TestBuffer_BeforeAFullPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := logbuffer.New(w, notice)
	for n := range logbuffer.Size {
		line(b, n)
	}
	if b.Lost() == 0 {
		t.Error("nothing is lost before a full pipe")
	}
	if err := b.Close(); !errors.Is(err, logbuffer.ErrUnread) {
		t.Errorf("close = %v, want ErrUnread", err)
	}
	r.Close() // the write that hangs in the pipe fails now
	if err := b.Close(); err != nil {
		t.Errorf("close = %v once the reader has gone", err)
	}
	w.Close()
}
