package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Process is one run of a program.
type Process struct {
	name  string
	fleet *Fleet
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	log   *os.File
	out   io.ReadCloser // its output
	// reading is held while its output is not read.
	reading sync.Mutex
	// expected is set when the laboratory ends it.
	expected atomic.Bool

	mu     sync.Mutex // guards the fields below
	said   []entry
	stills []span
	frozen bool
	ended  time.Duration // when it was seen to have ended
}

// span is a period of time; one that has not ended has no end.
type span struct{ from, to time.Duration }

// seat is where a process runs: when it has ended, another can take its place.
type seat struct{ current atomic.Pointer[Process] }

// Process is the latest run of its program, nil before the first.
func (s *seat) Process() *Process { return s.current.Load() }

// up reports whether it runs and is not frozen.
func (s *seat) up() bool {
	p := s.Process()
	return p != nil && !p.Ended() && !p.Frozen()
}

var (
	errGone    = errors.New("process has ended")
	errNotSo   = errors.New("process is not in the requested state")
	errRunning = errors.New("process has not ended")
)

// spawn starts a program at a place. Its output goes to its log, which all runs of that
// name share.
func (f *Fleet) spawn(name string, at Place, env []string, args ...string) (*Process, error) {
	line := slices.Concat(at.Prefix, args)
	p := &Process{name: name, fleet: f, cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	tie(p.cmd)
	var err error
	if p.log, err = os.OpenFile(filepath.Join(f.logs(), name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	p.out, err = p.cmd.StderrPipe()
	if err == nil {
		err = f.starter.start(p.cmd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), p.log.Close())
	}
	f.mu.Lock()
	f.runs[name] = append(f.runs[name], p)
	f.mu.Unlock()
	f.group.Go(func() {
		defer close(p.done)
		defer p.log.Close()
		p.read(p.out)
		_ = p.cmd.Wait() // how it ended is read by Exit
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = f.Now()
	})
	return p, nil
}

// read keeps the process's output until it has ended.
func (p *Process) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.reading.Lock()
		_, _ = fmt.Fprintf(p.log, "%s\n", lines.Bytes()) // readers of the log notice that it is truncated
		p.reading.Unlock()
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // it is in the log
		}
		p.mu.Lock()
		p.said = append(p.said, e)
		p.mu.Unlock()
	}
}

// ignore leaves its output unread for a time, in a full pipe.
func (p *Process) ignore(ctx context.Context, lasting time.Duration) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	for range 2 { // what was being read at that moment has made room again
		if err := fillPipe(p.out); err != nil {
			return err
		}
		if err := pause(ctx, lasting/2); err != nil {
			return err
		}
	}
	return nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended reports whether it has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill ends it as a power failure would, and waits for that. It may have ended before.
func (p *Process) Kill() {
	p.shoot()
	<-p.done
}

// shoot is Kill without the wait.
func (p *Process) shoot() {
	p.expected.Store(true)
	_ = p.cmd.Process.Kill()
}

// Signal sends it a signal.
func (p *Process) Signal(sig syscall.Signal) error {
	if p.Ended() {
		return fmt.Errorf("signal %s: %w", p.name, errGone)
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Freeze stops it and returns once it has stopped.
func (p *Process) Freeze(ctx context.Context) error {
	p.still(true)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return p.awaitState(ctx, true)
}

// Thaw continues it and returns once it runs.
func (p *Process) Thaw(ctx context.Context) error {
	defer p.still(false)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	return p.awaitState(ctx, false)
}

// still records that it stands still from now on, or no longer does.
func (p *Process) still(frozen bool) {
	now := p.fleet.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case frozen && !p.frozen:
		p.stills = append(p.stills, span{from: now})
	case !frozen && p.frozen:
		p.stills[len(p.stills)-1].to = now
	}
	p.frozen = frozen
}

// Frozen reports whether it stands still.
func (p *Process) Frozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen
}

// awaitState waits until the kernel says that the process is stopped, or is not.
func (p *Process) awaitState(ctx context.Context, stopped bool) error {
	return await(ctx, 5*time.Second, func(context.Context) error {
		state, err := stateOf(p.PID())
		if err != nil {
			return err
		}
		if (state == "T") != stopped {
			return fmt.Errorf("%s is %s: %w", p.name, state, errNotSo)
		}
		return nil
	})
}

// stateOf is the letter with which the kernel describes the state of a process.
func stateOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("read state: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name, which may contain spaces
	state, _, _ := strings.Cut(rest, " ")
	return state, nil
}

// Exit waits for its end and returns the exit code, -1 if a signal ended it.
func (p *Process) Exit(ctx context.Context, limit time.Duration) (int, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s after %s: %w", p.name, limit, errRunning)
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for %s: %w", p.name, ctx.Err())
	}
}

// starter starts processes from one thread that lasts as long as the fleet. They are tied
// to that thread, so that the kernel ends them if the laboratory dies.
type starter struct {
	orders chan func()
	group  sync.WaitGroup
}

func newStarter() *starter {
	s := &starter{orders: make(chan func())}
	s.group.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the fleet
		for order := range s.orders {
			order()
		}
	})
	return s
}

func (s *starter) start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	s.orders <- func() { started <- cmd.Start() }
	return <-started
}

func (s *starter) close() {
	close(s.orders)
	s.group.Wait()
}
