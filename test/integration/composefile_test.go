package integration_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// service is one service of the Compose file, as far as promises go.
type service struct {
	Image       string
	Command     []string
	Environment map[string]any
	Ports       []string
	Volumes     []string
	DependsOn   []string `json:"depends_on"`
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	Secrets     []string
	Restart     string
	Grace       string `json:"stop_grace_period"`
}

// Promise: docker-compose.yml has three etcd members and four nodes, one of each
// kind, and opens nothing but the nodes' APIs, to this machine alone. What Docker
// makes of it is for the test that needs one.
func TestCompose_FileIsWhatItSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]service
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{"auto": "auto", "hot-standby": "hot_standby", "standby": "standby", "hot-backup": "hot_backup"}
	members := []string{"etcd1", "etcd2", "etcd3"}
	if len(file.Services) != len(modes)+len(members) {
		t.Errorf("%d services, want %d nodes and %d etcd members", len(file.Services), len(modes), len(members))
	}
	for _, name := range members {
		s := file.Services[name]
		if s.Environment["ETCD_NAME"] != name || !strings.Contains(s.Image, "etcd") || len(s.Ports) != 0 || !slices.Contains(s.Volumes, name+":/data") {
			t.Errorf("%s is %+v, want a member of that name, its data kept, its ports closed", name, s)
		}
	}
	published := regexp.MustCompile(`^127\.0\.0\.1:\$\{PORT_[A-Z_]+:-\d+\}:7400$`)
	for name, mode := range modes {
		s := file.Services[name]
		if s.Environment["COORDINATOR_MODE"] != mode || s.Environment["COORDINATOR_NODE_ID"] != name ||
			s.Environment["COORDINATOR_ENDPOINTS"] != "http://etcd1:2379,http://etcd2:2379,http://etcd3:2379" ||
			s.Environment["COORDINATOR_ADVERTISE_URL"] != "http://"+name+":7400" {
			t.Errorf("%s has the environment %v, want mode %s on all three members", name, s.Environment, mode)
		}
		if len(s.Ports) != 1 || !published.MatchString(s.Ports[0]) {
			t.Errorf("%s publishes %v, want its API on loopback alone", name, s.Ports)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.DependsOn, members) {
			t.Errorf("%s: read only %t, drops %v, depends on %v", name, s.ReadOnly, s.CapDrop, s.DependsOn)
		}
		if s.Restart != "unless-stopped" || s.Grace != "15s" || !slices.Equal(s.Secrets, []string{"tokens", "token"}) ||
			s.Environment["COORDINATOR_AUTH_TOKEN_FILE"] != "/run/secrets/tokens" {
			t.Errorf("%s: restart %s, %s to stop, secrets %v", name, s.Restart, s.Grace, s.Secrets)
		}
		if _, kept := file.Volumes[name]; !kept || !slices.Contains(s.Volumes, name+":/data") {
			t.Errorf("%s does not keep its data: %v", name, s.Volumes)
		}
	}
}

// Promise: the image runs one static binary, and not as root, and is the same from a
// binary that is built already.
func TestDockerfile_ShipsNoRoot(t *testing.T) {
	t.Parallel()
	last := lastStage(t)
	prebuilt, err := os.ReadFile("../../deploy/docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if _, same, _ := strings.Cut(string(prebuilt), "\nFROM scratch\n"); same != last {
		t.Errorf("deploy/docker/Dockerfile ships\n%s\nthe Dockerfile\n%s", same, last)
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(last)
	if user == nil || user[1] == "0" || user[2] == "0" {
		t.Errorf("USER is %v, want one by number that is not root:\n%s", user, last)
	}
	for _, line := range []string{`ENTRYPOINT ["/coordinator"]`, `CMD ["run"]`, "STOPSIGNAL SIGTERM", `CMD ["/coordinator", "health"]`} {
		if !strings.Contains(last, line) {
			t.Errorf("the last stage has no %s:\n%s", line, last)
		}
	}
}
