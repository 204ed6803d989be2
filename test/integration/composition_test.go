package integration_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// composition is the project's Compose file, brought up with images made of this
// tree's own binaries.
type composition struct {
	t       *testing.T
	project string
	program []string // docker-compose, or docker compose
	env     []string
	ports   map[string]string // of the APIs, by service
	secrets string            // the folder of the tokens
}

func newComposition(t *testing.T) *composition {
	t.Helper()
	tag := fmt.Sprintf("%d", os.Getpid())
	c := &composition{t: t, project: "coordinator-test-" + tag, program: []string{"docker", "compose"}, ports: make(map[string]string), secrets: filepath.Join(t.TempDir(), "secrets")}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		c.program = []string{"docker-compose"}
	}
	c.env = append(os.Environ(), "DOCKER_BUILDKIT=0", "COMPOSE_PROJECT_NAME="+c.project, "SECRETS="+c.secrets)
	for service, variable := range map[string]string{
		"auto": "PORT_AUTO", "hot-standby": "PORT_HOT_STANDBY", "standby": "PORT_STANDBY", "hot-backup": "PORT_HOT_BACKUP",
	} {
		_, port, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		c.ports[service] = port
		c.env = append(c.env, variable+"="+port)
	}
	images := map[string]string{"COORDINATOR_IMAGE": "coordinator-test:" + tag, "ETCD_IMAGE": "coordinator-test-etcd:" + tag}
	for variable, image := range images {
		c.env = append(c.env, variable+"="+image)
	}
	prebuilt, err := os.ReadFile("../../deploy/docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	c.image(images["COORDINATOR_IMAGE"], "./cmd/coordinator", "out/coordinator", string(prebuilt))
	c.image(images["ETCD_IMAGE"], "./test/etcd", "out/usr/local/bin/etcd", "FROM scratch\nCOPY out/ /\n")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.try("logs", "--no-color"))
		}
		c.try("down", "-v", "--timeout", "1")
		for _, image := range images {
			_ = exec.Command("docker", "rmi", "-f", image).Run()
		}
	})
	return c
}

// lastStage is what the project's Dockerfile ships, fed from a folder instead of
// the build stage.
func lastStage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, ok := strings.Cut(string(text), "\nFROM scratch\n")
	fed := strings.Replace(last, "COPY --from=build --chown=65532:65532 /out/ /", "COPY --chown=65532:65532 out/ /", 1)
	if !ok || fed == last {
		t.Fatal("the Dockerfile's last stage is not as this test knows it")
	}
	return fed
}

// image builds a static binary into an image.
func (c *composition) image(tag, pkg, at, dockerfile string) {
	c.t.Helper()
	dir := c.t.TempDir()
	build := exec.CommandContext(c.t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, at), pkg)
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "out", "data"), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run("docker", "build", "-t", tag, dir)
}

func (c *composition) run(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = "../..", c.env
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%v: %v\n%s", args, err, errorText(err))
	}
	return string(out)
}

func errorText(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

func (c *composition) compose(args ...string) string {
	c.t.Helper()
	return c.run(append(c.program, args...)...)
}

// try is compose for what may fail, also when the test is over.
func (c *composition) try(args ...string) string {
	all := append(c.program[1:], args...)
	cmd := exec.Command(c.program[0], all...)
	cmd.Dir, cmd.Env = "../..", c.env
	out, err := cmd.CombinedOutput()
	return fmt.Sprintf("%v: %v\n%s", args, err, out)
}

// node is a service whose API is published on loopback, as the holder of the token sees
// it.
func (c *composition) node(service string) *process {
	c.t.Helper()
	token, err := os.ReadFile(filepath.Join(c.secrets, "token"))
	if err != nil {
		c.t.Fatal(err)
	}
	return &process{
		t: c.t, name: service, url: "http://127.0.0.1:" + c.ports[service],
		header: map[string]string{"Authorization": "Bearer " + strings.TrimSpace(string(token))},
	}
}

// healthy waits until Docker itself says so.
func (c *composition) healthy(service string) {
	c.t.Helper()
	eventually(c.t, maxWait, func() error {
		id := strings.TrimSpace(c.compose("ps", "-q", service))
		state := strings.TrimSpace(c.run("docker", "inspect", "-f", "{{.State.Health.Status}}", id))
		if state != "healthy" {
			return fmt.Errorf("%s is %s", service, state)
		}
		return nil
	})
}

// container is the id of a service's container.
func (c *composition) container(service string) string {
	c.t.Helper()
	return strings.TrimSpace(c.compose("ps", "-q", service))
}

// network is the network that Compose has made for all services.
func (c *composition) network() string { return c.project + "_default" }

// says runs the command in a service's container, as an operator would whose network
// does not reach it, and returns its exit code.
func (c *composition) says(service string, args ...string) int {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "docker", append([]string{"exec", c.container(service), "/coordinator"}, args...)...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// follow carries out what the README shows, until it prints what the README shows.
func (c *composition) follow(s step) {
	c.t.Helper()
	line := strings.NewReplacer(
		"docker compose", strings.Join(c.program, " "), "--build", "--no-build", " exec -T ", " exec -T ", " exec ", " exec -T ",
		"bin/coordinator", coordinatorBin, "secrets", c.secrets,
	).Replace(s.command)
	once := func() error {
		cmd := exec.CommandContext(c.t.Context(), "sh", "-c", line)
		cmd.Dir, cmd.Env = "../..", c.env
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s%s", s.command, err, out, errorText(err))
		}
		if got, want := shape(strings.Split(string(out), "\n")), shape(s.output); len(s.output) > 0 && got != want {
			return fmt.Errorf("%s\nprints\n%s\nof the shape\n%s\nthe README shows\n%s", s.command, out, got, want)
		}
		return nil
	}
	if len(s.output) > 0 {
		eventually(c.t, maxWait, once)
	} else if err := once(); err != nil {
		c.t.Fatal(err)
	}
}
