package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// startsWrong starts a node that cannot start, and wants it to say why at once, with exit
// code 2. "At once" is long before the time that a store may take.
func startsWrong(t *testing.T, says []string, args ...string) {
	t.Helper()
	p := spawn(t, "a", coordinatorBin, append([]string{
		"run", "--node-id", "a", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--store-timeout", "5m",
	}, args...)...)
	if code := p.exit(maxWait); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	_, told, _ := strings.Cut(p.output(), "Error: ")
	for _, word := range says {
		if !strings.Contains(told, word) {
			t.Errorf("it does not say %q: %s", word, told)
		}
	}
}

// greeter is a server that says something to everybody and hangs up.
func greeter(t *testing.T, words string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() { l.Close(); group.Wait() })
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, words)
			conn.Close()
		}
	})
	return l.Addr().String()
}

// Promise: endpoints at which no etcd can be talked to are told at start, at once, each in
// words of its own, with exit code 2.
func TestEndpoints_WhatIsWrongIsToldAtStart(t *testing.T) {
	t.Parallel()
	plain := newCluster(t, 6*time.Second)
	secured := newSecured(t, 6*time.Second)
	other := newCluster(t, 6*time.Second)
	node := plain.node("n", "auto")
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	webTLS := httptest.NewUnstartedServer(http.NotFoundHandler())
	webTLS.EnableHTTP2 = true
	webTLS.StartTLS()
	t.Cleanup(webTLS.Close)
	ssh := greeter(t, "SSH-2.0-OpenSSH_9.2\r\n")
	a := append(as(issue(t, secured.ca, "a", soon())), "--etcd-cacert", secured.ca.File())
	for name, c := range map[string]struct {
		endpoints string
		args      []string
		says      []string
	}{
		"TLS on an etcd in clear":             {"https://" + plain.endpoint, nil, []string{"does not speak TLS", "http://"}},
		"TLS with files on an etcd in clear":  {"https://" + plain.endpoint, a, []string{"does not speak TLS", "http://"}},
		"TLS on two in clear":                 {"https://" + plain.endpoint + ",https://" + other.endpoint, a, []string{"does not speak TLS", plain.endpoint, other.endpoint}},
		"clear on an etcd with TLS":           {"http://" + secured.endpoint, nil, []string{"write endpoints with https://"}},
		"no scheme on an etcd with TLS":       {secured.endpoint, nil, []string{"write endpoints with https://"}},
		"TLS on a web server":                 {strings.Replace(web.URL, "http:", "https:", 1), a, []string{"speaks plain HTTP and not TLS", "http://"}},
		"a web server":                        {web.URL, nil, []string{"a web server answers there", "404"}},
		"a web server with another authority": {webTLS.URL, a, []string{"not trusted here", "--etcd-cacert"}},
		"a node's own API":                    {node.url, nil, []string{"the API of a node answers there", "2379"}},
		"TLS on a node's own API":             {strings.Replace(node.url, "http:", "https:", 1), a, []string{"speaks plain HTTP and not TLS", "http://"}},
		"an SSH server":                       {"http://" + ssh, nil, []string{"an SSH server answers there"}},
		"TLS on an SSH server":                {"https://" + ssh, a, []string{"does not speak TLS"}},
		"endpoints of two clusters":           {plain.endpoint + "," + other.endpoint, nil, []string{"endpoints of two clusters", plain.endpoint, other.endpoint}},
		"a web server and a node":             {web.URL + "," + node.url, nil, []string{"a web server", "the API of a node"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startsWrong(t, c.says, append([]string{"--endpoints", c.endpoints}, c.args...)...)
		})
	}
}

// Promise: one right endpoint is enough; of the wrong ones the log tells.
func TestEndpoints_OneIsRight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ wrong, says string }{
		"an SSH server": {greeter(t, "SSH-2.0-OpenSSH_9.2\r\n"), "an SSH server answers there"},
		"nobody":        {freeAddress(t), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newCluster(t, 6*time.Second)
			e.endpoint = c.wrong + "," + e.endpoint
			e.scheme = "http"
			p := spawn(t, "a", coordinatorBin,
				"run", "--node-id", "a", "--endpoints", e.endpoint, "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--log-format", "json")
			e.served(p)
			p.await("MASTER")
			p.mustPut("entity/x", "1")
			if !strings.Contains(p.output(), c.says) {
				t.Errorf("it does not say %q", c.says)
			}
		})
	}
}

// Promise: a grpc-proxy of etcd's, which answers no requests for progress, is refused at
// start, in words, alone and among others.
func TestEndpoints_ProxyOfEtcd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	proxy := freeAddress(t)
	spawn(t, "grpc-proxy", etcdBin, "grpc-proxy", "start", "--endpoints", c.endpoint, "--listen-addr", proxy)
	eventually(t, maxWait, func() error {
		conn, err := net.Dial("tcp", proxy)
		if err == nil {
			conn.Close()
		}
		return err
	})
	startsWrong(t, []string{"grpc-proxy", "name etcd's own endpoints"}, "--endpoints", proxy)
	startsWrong(t, []string{"grpc-proxy", proxy}, "--endpoints", c.endpoint+","+proxy)
}

// Promise: an endpoint of another cluster that comes up later is left out, and told; it
// ends no term, and no write is refused for it.
func TestEndpoints_AnotherClusterComesUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	late := newCluster(t, 6*time.Second)
	// An etcd that is killed before its first entry is stored never leads again.
	if _, err := late.raw.Put(t.Context(), "/elsewhere", ""); err != nil {
		t.Fatal(err)
	}
	late.etcd.kill()
	c.endpoint += ",http://" + late.endpoint
	a := c.node("a", "auto")
	a.await("MASTER")
	a.mustPut("entity/x", "0")
	_, term := c.led()
	late.startEtcd()
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); {
		a.mustPut("entity/x", "1")
		if err := a.is("MASTER"); err != nil {
			t.Fatal(err)
		}
	}
	if _, now := c.led(); now != term {
		t.Errorf("term %d is followed by %d", term, now)
	}
	if strings.Contains(a.output(), "store restored") {
		t.Error("it takes the other cluster for a store restored")
	}
	eventually(t, maxWait, func() error {
		if !strings.Contains(a.output(), "member of etcd cannot be relied on") {
			return fmt.Errorf("%s does not tell of the other cluster", a.name)
		}
		return nil
	})
	if _, out, _ := command(t, "doctor", "--server", a.url); !strings.Contains(out, late.endpoint) {
		t.Errorf("doctor does not tell of it: %s", out)
	}
	if resp, err := late.raw.Get(t.Context(), "/coordinator/", clientv3.WithPrefix()); err != nil || resp.Count != 0 {
		t.Errorf("the other cluster holds %v, %v", resp, err)
	}
}

// Promise: a learner answers for nobody. It is left out, and told.
func TestEndpoints_Learner(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	peer, client := "http://"+freeAddress(t), freeAddress(t)
	if _, err := c.raw.MemberAddAsLearner(t.Context(), []string{peer}); err != nil {
		t.Fatal(err)
	}
	members, err := c.raw.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	initial := "two=" + peer
	for _, m := range members.Members {
		if m.Name != "" {
			initial += "," + m.Name + "=" + m.PeerURLs[0]
		}
	}
	spawn(t, "learner", etcdBin, "--data-dir", t.TempDir(), "--name", "two", "--log-level", "warn", "--initial-cluster-state", "existing",
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", initial)
	learner, err := clientv3.New(clientv3.Config{Endpoints: []string{client}})
	if err != nil {
		t.Fatal(err)
	}
	defer learner.Close()
	eventually(t, maxWait, func() error {
		_, err := learner.Get(t.Context(), "x", clientv3.WithSerializable())
		return err
	})
	c.endpoint = client + ",http://" + c.endpoint
	a := c.node("a", "auto")
	a.await("MASTER")
	for range 50 {
		a.mustPut("entity/x", "1")
	}
	if !strings.Contains(a.output(), "it is a learner") {
		t.Error("the log does not tell of the learner")
	}
}

// Promise: with etcd's alarm CORRUPT raised a write is refused at once, as not applied,
// nobody is writable, and doctor names the alarm; when it is over, all goes on.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	a := c.node("a", "auto")
	a.await("MASTER")
	a.mustPut("entity/x", "before")
	_, term := c.led()
	c.alarm("CORRUPT", true)
	began := time.Now()
	a.want(http.MethodPut, "/v1/mementos/entity/x", "late", http.StatusServiceUnavailable)
	a.want(http.MethodDelete, "/v1/mementos/entity/x", "", http.StatusServiceUnavailable)
	a.want(http.MethodPost, "/v1/plane/pause", "", http.StatusServiceUnavailable)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("refused after %s", took)
	}
	writable := func(want int) {
		eventually(t, maxWait, func() error {
			got, err := call(t.Context(), http.MethodGet, a.url+"/role/writable", nil, nil)
			if err == nil && got.status != want {
				err = fmt.Errorf("/role/writable: %d %s, want %d", got.status, got.body, want)
			}
			return err
		})
	}
	writable(http.StatusServiceUnavailable)
	a.want(http.MethodGet, "/role/master", "", http.StatusOK)
	if code, out, _ := command(t, "doctor", "--server", a.url); code != 1 || !strings.Contains(out, "CORRUPT") || !strings.Contains(out, "hashkv") || strings.Contains(out, "certificate") {
		t.Errorf("doctor: %d %s", code, out)
	}
	c.alarm("CORRUPT", false)
	writable(http.StatusOK)
	if err := a.reads("entity/x", "before"); err != nil {
		t.Error(err)
	}
	a.mustPut("entity/x", "after")
	if _, now := c.led(); now != term {
		t.Errorf("term %d is followed by %d", term, now)
	}
}

// Promise: the TTL that etcd granted is the one that counts; where that is not the one
// asked for, log, status and doctor say so.
func TestTTL_NotGrantedAsAsked(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2*time.Second, "--heartbeat-interval", "200", "--election-timeout", "3000")
	a := c.node("a", "auto")
	a.await("MASTER")
	a.says("etcd grants another lease TTL than it was asked for")
	for _, args := range [][]string{{"status"}, {"doctor"}} {
		if _, out, _ := command(t, append(args, "--server", a.url)...); !strings.Contains(out, "etcd grants leases 5s and was asked for 2s") {
			t.Errorf("%s does not tell: %s", args[0], out)
		}
	}
}

// oldEtcd is the binary of an etcd that lets notices of progress overtake events. The gate
// takes one out of Debian's package.
func oldEtcd(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("OLD_ETCD")
	if bin == "" {
		t.Skip("OLD_ETCD names no etcd before 3.4.25 or 3.5.8")
	}
	out, err := exec.Command(bin, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`etcd Version: 3\.(4\.(1?\d|2[0-4])|5\.[0-7])\s`).Match(out) {
		t.Skipf("OLD_ETCD is not old: %s", out)
	}
	return bin
}

// Promise: a real etcd of an old version is refused at start, naming the version, alone
// and as one member of several.
func TestEndpoints_OldEtcd(t *testing.T) {
	t.Parallel()
	old := oldEtcd(t)
	client, peer := freeAddress(t), "http://"+freeAddress(t)
	spawn(t, "old etcd", old, "--data-dir", t.TempDir(), "--name", "one", "--log-level", "error",
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer)
	c := newCluster(t, 6*time.Second)
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{client}})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	eventually(t, maxWait, func() error {
		_, err := raw.Get(t.Context(), "x")
		return err
	})
	for _, endpoints := range []string{client, c.endpoint + "," + client} {
		startsWrong(t, []string{"version 3.", "use at least 3.4.25, 3.5.8 or 3.6"}, "--endpoints", endpoints)
	}
	if resp, err := raw.Get(t.Context(), "", clientv3.WithPrefix()); err != nil || resp.Count != 0 {
		t.Errorf("the old etcd holds %v, %v", resp, err)
	}
}

// tunnel is an HTTP proxy that connects everybody to one address, or nobody if it is empty.
func tunnel(t *testing.T, to string) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	var group sync.WaitGroup
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodConnect || to == "" {
			http.Error(w, "not through here", http.StatusForbidden)
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			far.Close()
			return
		}
		fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			group.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // how it ends makes no difference
				pair[0].Close()
				pair[1].Close()
			})
		}
	}))
	t.Cleanup(func() { proxy.Close(); group.Wait() })
	return proxy.URL, asked
}

// Promise: a proxy of the environment is named, where it works and where it does not, and
// a host that NO_PROXY leaves out is reached without.
func TestEndpoints_ProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6*time.Second)
	through, _ := tunnel(t, c.endpoint)
	closed, refused := tunnel(t, "")
	start := func(env ...string) *process {
		p := &process{t: t, name: "a", done: make(chan struct{}), cmd: exec.Command(coordinatorBin,
			"run", "--node-id", "a", "--endpoints", "etcd.invalid:2379", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(),
			"--store-timeout", "3s", "--log-format", "json")}
		p.cmd.Env = append(os.Environ(), env...)
		p.begin()
		return p
	}
	a := start("HTTPS_PROXY=" + through)
	c.served(a)
	a.await("MASTER")
	a.says("etcd is reached by way of a proxy that the environment names")
	b := start("HTTPS_PROXY=" + strings.Replace(closed, "http://", "http://user:secret@", 1))
	if code := b.exit(maxWait); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
	_, told, _ := strings.Cut(b.output(), "Error: ")
	if !strings.Contains(told, strings.TrimPrefix(closed, "http://")) || !strings.Contains(told, "HTTPS_PROXY") || strings.Contains(b.output(), "secret") {
		t.Errorf("it says %q", told)
	}
	before := refused.Load()
	d := start("HTTPS_PROXY="+closed, "NO_PROXY=etcd.invalid")
	if code := d.exit(maxWait); code != 6 || refused.Load() != before || strings.Contains(d.output(), "proxy") {
		t.Errorf("exit code %d, %d requests of the proxy, want 6 and none", code, refused.Load()-before)
	}
}

// Promise: auth bootstrap tells of wrong endpoints as a node does.
func TestEndpoints_OfAuthBootstrap(t *testing.T) {
	t.Parallel()
	plain, secured := newCluster(t, 6*time.Second), newSecured(t, 6*time.Second)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	for endpoints, says := range map[string]string{
		"https://" + plain.endpoint:  "does not speak TLS",
		"http://" + secured.endpoint: "write endpoints with https://",
		web.URL:                      "a web server answers there",
	} {
		code, _, told := command(t, "auth", "bootstrap", "--apply", "--node", "a=auto", "--endpoints", endpoints, "--timeout", "5m")
		if code != 2 || !strings.Contains(told, says) {
			t.Errorf("%s: exit code %d, %q, want %q", endpoints, code, told, says)
		}
	}
}
