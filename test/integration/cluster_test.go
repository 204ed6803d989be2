package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/internal/freeport"
)

// maxWait bounds what has no bound of its own. It is generous: these machines
// are slow and noisy.
const maxWait = 60 * time.Second

// process is a program at work, with what it wrote.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	url  string        // of its API, for a node

	header map[string]string // sent with each request to it

	mu  sync.Mutex // guards the fields below
	log bytes.Buffer
}

// spawn starts a program, and ends it with the test.
func spawn(t *testing.T, name, bin string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(bin, args...), done: make(chan struct{})}
	p.begin()
	return p
}

// begin starts the program of a process that is made.
func (p *process) begin() {
	p.t.Helper()
	out, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.read(out)
		_ = p.cmd.Wait() // its state is read by exit
	}()
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("--- log of %s\n%s", p.name, p.output())
		}
	})
}

func (p *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.log.Write(lines.Bytes())
		p.log.WriteByte('\n')
		p.mu.Unlock()
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill ends it as a power failure would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("%s does not end within %s", p.name, limit)
		return -1
	}
}

// field returns a field of the first log line with that message.
func (p *process) field(message, key string) string {
	for line := range strings.Lines(p.output()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			return fmt.Sprint(entry[key])
		}
	}
	return ""
}

// cluster is a plane of processes on an etcd that is a process.
type cluster struct {
	t        *testing.T
	etcd     *process
	etcdDir  string
	etcdArgs []string
	scheme   string // of etcd's client URL
	endpoint string
	nodeArgs []string
	plane    string
	ttl      time.Duration
	nodes    map[string]*process
	raw      *clientv3.Client
}

// newCluster starts an etcd of its own for the test.
func newCluster(t *testing.T, ttl time.Duration, etcdArgs ...string) *cluster {
	t.Helper()
	c := &cluster{
		t: t, etcdDir: t.TempDir(), endpoint: freeAddress(t), plane: "p",
		etcdArgs: etcdArgs, scheme: "http", ttl: ttl, nodes: make(map[string]*process),
	}
	c.startEtcd()
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{c.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	c.raw = raw
	return c
}

// freeAddress finds an address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// startEtcd starts the etcd, on the data it had if it had any.
func (c *cluster) startEtcd() {
	c.t.Helper()
	peer := "http://" + freeAddress(c.t)
	c.etcd = spawn(c.t, "etcd", etcdBin, append([]string{
		"--data-dir", c.etcdDir, "--name", "one", "--log-level", "warn",
		"--listen-client-urls", c.etcdURL(), "--advertise-client-urls", c.etcdURL(),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer,
	}, c.etcdArgs...)...)
	eventually(c.t, maxWait, func() error {
		conn, err := net.Dial("tcp", c.endpoint)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// etcdURL is where etcd is reached.
func (c *cluster) etcdURL() string {
	if c.scheme == "" {
		return c.endpoint
	}
	return c.scheme + "://" + c.endpoint
}

// node starts a node and waits until its API is served.
func (c *cluster) node(id, mode string, args ...string) *process {
	c.t.Helper()
	p := c.spawnNode(id, mode, args...)
	c.served(p)
	return p
}

func (c *cluster) spawnNode(id, mode string, args ...string) *process {
	c.t.Helper()
	p := spawn(c.t, id, coordinatorBin, c.runArgs(id, mode, args...)...)
	c.nodes[id] = p
	return p
}

// runArgs is the command line of a node.
func (c *cluster) runArgs(id, mode string, args ...string) []string {
	all := []string{
		"run", "--node-id", id, "--mode", mode, "--plane", c.plane, "--endpoints", c.etcdURL(),
		"--listen", "127.0.0.1:0", "--data-dir", filepath.Join(c.etcdDir, "nodes-"+id),
		"--lease-ttl", c.ttl.String(), "--log-format", "json",
	}
	return slices.Concat(all, c.nodeArgs, args)
}

func (c *cluster) served(p *process) {
	c.t.Helper()
	eventually(c.t, maxWait, func() error {
		select {
		case <-p.done:
			c.t.Fatalf("%s has ended:\n%s", p.name, p.output())
		default:
		}
		if p.url = p.field("API is served", "advertise_url"); p.url == "" {
			return fmt.Errorf("%s serves no API yet", p.name)
		}
		return nil
	})
}

// eventually waits until ok returns nil, and fails with its last error.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %s: %v", limit, err)
		}
	}
}

// answer is what a node said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var httpClient = &http.Client{Timeout: 30 * time.Second}

// call sends a request to a node.
func call(ctx context.Context, method, url string, header map[string]string, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, text}, err
}

// get reads a path of a node into v.
func (p *process) get(path string, v any) error {
	a, err := call(context.Background(), http.MethodGet, p.url+path, p.header, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: GET %s: %d %s", p.name, path, a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}

// put stores a memento through the node.
func (p *process) put(name string, payload []byte) (*answer, error) {
	return call(context.Background(), http.MethodPut, p.url+"/v1/mementos/"+name, p.header, payload)
}

// mustPut stores a memento and wants it to succeed.
func (p *process) mustPut(name, payload string) {
	p.t.Helper()
	a, err := p.put(name, []byte(payload))
	if err != nil || a.status/100 != 2 {
		p.t.Fatalf("put %s through %s: %+v %v", name, p.name, a, err)
	}
}

// is returns nil when the node is in the state.
func (p *process) is(state string) error {
	var n struct{ State string }
	if err := p.get("/v1/node", &n); err != nil {
		return err
	}
	if n.State != state {
		return fmt.Errorf("%s is %s, not %s", p.name, n.State, state)
	}
	return nil
}

// await waits for a state.
func (p *process) await(state string) {
	p.t.Helper()
	eventually(p.t, maxWait, func() error { return p.is(state) })
}

// reads returns nil when the node has the memento with that payload.
func (p *process) reads(name, payload string) error {
	a, err := call(context.Background(), http.MethodGet, p.url+"/v1/mementos/"+name, p.header, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || string(a.body) != payload {
		return fmt.Errorf("%s reads %s as %d %.80q, want %.80q", p.name, name, a.status, a.body, payload)
	}
	return nil
}

// command runs the operator's command and returns its exit code and output.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(coordinatorBin, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}
