package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The kernel's control groups, of both versions. Each group is created for one process and
// removed when the fault is over; its name contains the id of the laboratory's own process,
// so that the groups of a killed laboratory can be recognised.

const (
	groupsRoot  = "/sys/fs/cgroup"
	groupPrefix = "coordinator-lab-"
)

// group is one process under a controller: cpu or freezer.
type group struct {
	dir     string
	unified bool
	process *Process
}

var errControl = errors.New("control group does not do as told")

// unified reports whether this machine has only the second version.
func unified() bool {
	_, err := os.Stat(filepath.Join(groupsRoot, "cgroup.controllers"))
	return err == nil
}

// parentOf is where groups of a controller are created.
func parentOf(controller string) string {
	if unified() {
		return groupsRoot
	}
	return filepath.Join(groupsRoot, controller)
}

// canGroup reports whether groups of a controller with that file can be created here.
func canGroup(controller, file string) bool {
	probe, err := os.MkdirTemp(parentOf(controller), groupPrefix+"probe-")
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(probe, file))
	return errors.Join(err, os.Remove(probe)) == nil
}

func canFreeze() bool {
	if unified() {
		return canGroup("", "cgroup.freeze")
	}
	return canGroup("freezer", "freezer.state")
}

func canStarve() bool {
	if unified() {
		return canGroup("", "cpu.max")
	}
	return canGroup("cpu", "cpu.cfs_quota_us")
}

// newGroup puts a process into a group of its own.
func newGroup(controller string, p *Process) (*group, error) {
	sweep(controller)
	g := &group{unified: unified(), process: p}
	g.dir = filepath.Join(parentOf(controller), fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), p.name))
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	if err := g.set("cgroup.procs", strconv.Itoa(p.PID())); err != nil {
		return nil, errors.Join(err, os.Remove(g.dir))
	}
	return g, nil
}

// sweep removes the groups of laboratories that no longer run. Their processes ended with
// them.
func sweep(controller string) {
	left, _ := filepath.Glob(filepath.Join(parentOf(controller), groupPrefix+"*")) // the pattern is valid
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		if _, err := os.Stat("/proc/" + owner); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir) // somebody else may have been faster
		}
	}
}

func (g *group) set(file, value string) error {
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0o600); err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	return nil
}

func (g *group) get(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return "", fmt.Errorf("read control group: %w", err)
	}
	return string(text), nil
}

// freeze stops the process and returns once it has stopped.
func (g *group) freeze(ctx context.Context) error {
	if g.unified {
		return g.change(ctx, "cgroup.freeze", "1", "cgroup.events", "frozen 1")
	}
	return g.change(ctx, "freezer.state", "FROZEN", "freezer.state", "FROZEN")
}

func (g *group) thaw(ctx context.Context) error {
	if g.unified {
		return g.change(ctx, "cgroup.freeze", "0", "cgroup.events", "frozen 0")
	}
	return g.change(ctx, "freezer.state", "THAWED", "freezer.state", "THAWED")
}

// change writes a file and waits until another file shows the effect.
func (g *group) change(ctx context.Context, file, value, shows, want string) error {
	if err := g.set(file, value); err != nil {
		return err
	}
	return await(ctx, 5*time.Second, func(context.Context) error {
		text, err := g.get(shows)
		if err == nil && !strings.Contains(text, want) {
			err = fmt.Errorf("%s says %q, not %q: %w", shows, text, want, errControl)
		}
		return err
	})
}

// throttle limits the process to a share of one processor.
func (g *group) throttle(percent int) error {
	const period = 100_000 // microseconds
	quota := period * percent / 100
	if g.unified {
		return g.set("cpu.max", fmt.Sprintf("%d %d", quota, period))
	}
	return errors.Join(g.set("cpu.cfs_period_us", strconv.Itoa(period)), g.set("cpu.cfs_quota_us", strconv.Itoa(quota)))
}

// throttled is the number of periods in which the process was held back. A process that
// never was has not been harmed.
func (g *group) throttled() (int, error) {
	text, err := g.get("cpu.stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if count, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			if err == nil && n == 0 {
				err = fmt.Errorf("%s was never throttled: %w", g.process.name, errControl)
			}
			return n, err
		}
	}
	return 0, fmt.Errorf("cpu.stat says %q: %w", text, errControl)
}

// remove takes the process out of the group, if it is alive, and removes the group.
func (g *group) remove() error {
	if !g.process.Ended() {
		out := filepath.Join(filepath.Dir(g.dir), "cgroup.procs")
		if err := os.WriteFile(out, []byte(strconv.Itoa(g.process.PID())), 0o600); err != nil {
			return fmt.Errorf("leave control group: %w", err)
		}
	}
	if err := os.Remove(g.dir); err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}
