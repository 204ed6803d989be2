package integration_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/test/lab/mutants"
)

// Promise: leases and watches outlast etcd's sessions. Nodes that are frozen until
// their sessions have lapsed log in anew, keep their term and their mirrors, and do
// not log in for each renewal or each request.
func TestSecure_SessionsLapseAndNothingElse(t *testing.T) {
	t.Parallel()
	const session, freezes = 2 * time.Second, 3
	s := newSecured(t, 12*time.Second, "--auth-token-ttl", "2")
	s.guard("right", "a=auto", "b=hot_standby", "c=hot_backup")
	whoever := as(issue(t, s.ca, "whoever", soon()))
	for _, n := range [][2]string{{"a", "auto"}, {"b", "hot_standby"}, {"c", "hot_backup"}} {
		s.node(n[0], n[1], append(whoever, login(t, userOf(n[0]), "right")...)...)
		if n[0] == "a" {
			s.nodes["a"].await("MASTER")
		}
	}
	master, before := s.led()
	want := make(map[string]string)
	for i := range freezes {
		logins := s.logins()
		for _, p := range s.nodes {
			p.signal(syscall.SIGSTOP)
		}
		<-time.After(2 * session)
		for _, p := range s.nodes {
			p.signal(syscall.SIGCONT)
		}
		name := fmt.Sprintf("entity/x%d", i)
		want[name] = "after a freeze"
		eventually(t, maxWait, func() error { // a node that stood still begins no write at first
			a, err := master.put(name, []byte(want[name]))
			if err == nil && a.status/100 != 2 {
				err = fmt.Errorf("put %s: %d %s", name, a.status, a.body)
			}
			return err
		})
		s.holdsOnly(want)
		for _, p := range s.nodes {
			p.renewed(s.ttl * 3 / 4)
		}
		if n := s.logins() - logins; n < len(s.nodes) {
			t.Errorf("%d logins after the freeze: sessions have not lapsed, so nothing is shown", n)
		}
	}
	logins := s.logins()
	<-time.After(3 * session)
	if n, most := s.logins()-logins, 3*len(s.nodes); n > most {
		t.Errorf("%d logins in %s without a freeze, want at most %d", n, 3*session, most)
	}
	if _, after := s.led(); after != before {
		t.Errorf("term %d, it was %d before", after, before)
	}
	for _, p := range s.nodes {
		if strings.Contains(p.output(), "mirror interrupted") || strings.Contains(p.output(), "plane out of sight") {
			t.Errorf("%s has lost a watch", p.name)
		}
	}
}

// renewed waits until the node's lease holds for that long.
func (p *process) renewed(least time.Duration) {
	p.t.Helper()
	eventually(p.t, maxWait, func() error {
		var n struct {
			Remaining int64 `json:"lease_remaining_ms"`
		}
		if err := p.get("/v1/node", &n); err != nil {
			return err
		}
		if left := time.Duration(n.Remaining) * time.Millisecond; left < least {
			return fmt.Errorf("the lease of %s holds for %s", p.name, left)
		}
		return nil
	})
}

// Promise: nodes that have credentials notice nothing when etcd begins to ask for
// them, and sessions that are lost with a member of etcd are begun anew.
func TestSecure_AuthEnabledAndEtcdRestarted(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 6*time.Second)
	whoever := as(issue(t, s.ca, "whoever", soon()))
	s.node("a", "auto", append(whoever, login(t, userOf("a"), "right")...)...).await("MASTER")
	s.node("b", "hot_standby", as(issue(t, s.ca, userOf("b"), soon()))...).await("HOT_STANDBY")
	_, before := s.led()
	s.guard("right", "a=auto", "b=hot_standby")
	s.nodes["a"].mustPut("entity/x", "1")
	<-time.After(s.ttl)
	if _, after := s.led(); after != before {
		t.Errorf("term %d, it was %d before etcd asked for credentials", after, before)
	}
	s.etcd.kill()
	s.startEtcd()
	eventually(t, maxWait, func() error {
		a, err := s.nodes["b"].put("entity/y", []byte("2"))
		if err != nil || a.status/100 != 2 {
			return fmt.Errorf("put: %+v %w", a, err)
		}
		return nil
	})
	s.led()
	s.holdsOnly(map[string]string{"entity/x": "1", "entity/y": "2"})
}

// Promise: a permission that is taken away is told as that, and not as a store that
// is away; nothing has to be restarted when it is back.
func TestSecure_RightsTakenAwayAreNamed(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 3*time.Second)
	s.guard("right", "a=auto", "c=hot_backup")
	a := s.node("a", "auto", as(issue(t, s.ca, userOf("a"), soon()))...)
	a.await("MASTER")
	c := s.node("c", "hot_backup", as(issue(t, s.ca, userOf("c"), soon()))...)
	c.await("HOT_BACKUP")

	// Its operator cannot make the backup what its role does not let it be.
	code, _, errOut := command(t, "mode", "auto", "--server", c.url)
	if code != 3 || !strings.Contains(errOut, "mode auto: ") || !strings.Contains(errOut, "hot_backup:c") {
		t.Errorf("mode auto of the backup exits %d: %s", code, errOut)
	}
	if err := c.is("HOT_BACKUP"); err != nil {
		t.Error(err)
	}

	role := "coordinator/" + s.plane + "/hot_backup:c"
	if _, err := s.raw.UserRevokeRole(t.Context(), userOf("c"), role); err != nil {
		t.Fatal(err)
	}
	for _, asked := range []*process{a, c} {
		eventually(t, maxWait, func() error {
			_, out, _ := command(t, "doctor", "--server", asked.url)
			if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
				return strings.HasPrefix(line, "permission") && strings.Contains(line, "FAILS") && strings.Contains(line, "store denies access")
			}) {
				return fmt.Errorf("doctor, asking %s, names no permission:\n%s", asked.name, out)
			}
			if strings.Contains(out, "see whether most of etcd's members run") {
				return fmt.Errorf("doctor, asking %s, takes etcd to be away:\n%s", asked.name, out)
			}
			return nil
		})
	}
	if _, err := s.raw.UserGrantRole(t.Context(), userOf("c"), role); err != nil {
		t.Fatal(err)
	}
	s.led()
}

// Promise: a hot_backup node with its role cannot lead, not even with a program that
// has it stand for election. The same program leads with another role.
func TestSecure_ABackupThatStandsForElectionIsRefusedByEtcd(t *testing.T) {
	t.Parallel()
	mutant := buildMutant(t, "backup-stands")
	s := newSecured(t, 3*time.Second)
	s.guard("right", "c=hot_backup", "d=auto")
	start := func(plane, id string, user ...string) *process {
		p := spawn(t, id, mutant, slices.Concat([]string{
			"run", "--node-id", id, "--mode", "hot_backup", "--plane", plane, "--endpoints", s.etcdURL(),
			"--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--lease-ttl", "3s", "--log-format", "json",
		}, s.nodeArgs, user)...)
		s.served(p)
		return p
	}
	c := start(s.plane, "c", as(issue(t, s.ca, userOf("c"), soon()))...)
	c.await("HOT_BACKUP")
	c.says("campaign interrupted, retrying")
	c.says("permission denied")
	<-time.After(2 * s.ttl)
	if err := c.is("HOT_BACKUP"); err != nil {
		t.Error(err)
	}
	if err := c.role("writable", http.StatusServiceUnavailable); err != nil {
		t.Error(err)
	}
	found, err := s.raw.Get(t.Context(), "/coordinator/"+s.plane+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range found.Kvs {
		if key := string(kv.Key); key != "/coordinator/"+s.plane+"/nodes/c" {
			t.Errorf("it has written %s", key)
		}
	}
	c.signal(syscall.SIGTERM)
	if code := c.exit(maxWait); code != 0 {
		t.Errorf("it exits with %d when stopped", code)
	}

	// With root's rights nothing but the program's own rules would stop it, and it has
	// broken those.
	start("another", "d", as(issue(t, s.ca, "root", soon()))...)
	eventually(t, maxWait, func() error {
		found, err := s.raw.Get(t.Context(), "/coordinator/another/term")
		if err == nil && len(found.Kvs) == 0 {
			err = fmt.Errorf("the mutant does not lead where etcd lets it, so it shows nothing")
		}
		return err
	})
}

// buildMutant builds the command with one rule broken.
func buildMutant(t *testing.T, name string) string {
	t.Helper()
	m, err := mutants.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := m.Overlay(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "coordinator")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", bin, "./cmd/coordinator")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}
