// Package kubernetes checks deploy/kubernetes against Kubernetes' own types, and its parts
// against each other.
package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

const folder = "../../deploy/kubernetes"

// manifests is the content of the folder.
type manifests struct {
	services map[string]corev1.Service
	configs  map[string]corev1.ConfigMap
	sets     []appsv1.StatefulSet
	proxies  []appsv1.Deployment
	budgets  []policyv1.PodDisruptionBudget
}

// readManifests decodes what kustomization.yaml lists. A field that Kubernetes does not
// know is an error.
func readManifests(t *testing.T) *manifests {
	t.Helper()
	var kustomization struct {
		Resources          []string
		ConfigMapGenerator []struct {
			Name  string
			Files []string
		}
	}
	read(t, "kustomization.yaml", func(doc []byte) error { return yaml.Unmarshal(doc, &kustomization) })
	m := &manifests{services: make(map[string]corev1.Service), configs: make(map[string]corev1.ConfigMap)}
	for _, name := range kustomization.Resources {
		read(t, name, m.add)
	}
	for _, g := range kustomization.ConfigMapGenerator {
		m.configs[g.Name] = corev1.ConfigMap{}
		for _, name := range g.Files {
			read(t, name, func([]byte) error { return nil })
		}
	}
	present, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(present) != len(kustomization.Resources)+1 {
		t.Errorf("kustomization.yaml lists %v of %v: %v", kustomization.Resources, present, err)
	}
	return m
}

// read adds each document of a file.
func read(t *testing.T, name string, take func(doc []byte) error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		if err := take([]byte(doc)); err != nil {
			t.Errorf("%s: %v in\n%.200s", name, err, doc)
		}
	}
}

// add adds one document.
func (m *manifests) add(doc []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case " ": // only a comment
		return nil
	case "v1 Service":
		v, err := strictly[corev1.Service](doc)
		m.services[v.Name] = v
		return err
	case "v1 ConfigMap":
		v, err := strictly[corev1.ConfigMap](doc)
		m.configs[v.Name] = v
		return err
	case "apps/v1 StatefulSet":
		v, err := strictly[appsv1.StatefulSet](doc)
		m.sets = append(m.sets, v)
		return err
	case "apps/v1 Deployment":
		v, err := strictly[appsv1.Deployment](doc)
		m.proxies = append(m.proxies, v)
		return err
	default:
		v, err := strictly[policyv1.PodDisruptionBudget](doc)
		m.budgets = append(m.budgets, v)
		return err
	}
}

func strictly[T any](doc []byte) (v T, err error) {
	err = yaml.UnmarshalStrict(doc, &v)
	return v, err
}

// pods returns the pod templates, by the name of their owner.
func (m *manifests) pods() map[string]corev1.PodTemplateSpec {
	all := make(map[string]corev1.PodTemplateSpec)
	for _, s := range m.sets {
		all[s.Name] = s.Spec.Template
	}
	for _, p := range m.proxies {
		all[p.Name] = p.Spec.Template
	}
	return all
}

// Each Service selects its pods and no others, at a port that they open.
func TestManifests_ServicesFindTheirPods(t *testing.T) {
	m := readManifests(t)
	want := map[string][]string{
		"coordinator":        {"coordinator", "coordinator-backup"},
		"coordinator-nodes":  {"coordinator", "coordinator-backup"},
		"coordinator-backup": {"coordinator-backup"},
		"coordinator-master": {"coordinator-master"},
	}
	if len(m.services) != len(want) {
		t.Errorf("%d services, want %d", len(m.services), len(want))
	}
	for name, makers := range want {
		s, found := m.services[name], []string(nil)
		for maker, pod := range m.pods() {
			if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) || len(s.Spec.Selector) == 0 {
				continue
			}
			found = append(found, maker)
			for _, port := range s.Spec.Ports {
				if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port.TargetPort.StrVal }) {
					t.Errorf("service %s wants port %s, which %s does not open", name, port.TargetPort.StrVal, maker)
				}
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, makers) {
			t.Errorf("service %s finds %v, want %v", name, found, makers)
		}
	}
	if nodes := m.services["coordinator-nodes"].Spec; nodes.ClusterIP != corev1.ClusterIPNone || !nodes.PublishNotReadyAddresses {
		t.Error("coordinator-nodes must be headless and publish nodes that are not ready")
	}
}

// Each node has the right probes, enough time to stop, the restricted pod security
// standard, and can be reached under the name it advertises.
func TestManifests_Nodes(t *testing.T) {
	m := readManifests(t)
	if len(m.sets) != 2 {
		t.Fatalf("%d stateful sets, want the nodes and the backup", len(m.sets))
	}
	for _, s := range m.sets {
		selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(s.Spec.Template.Labels)) {
			t.Errorf("%s does not select its own pods: %v", s.Name, err)
		}
		if _, ok := m.services[s.Spec.ServiceName]; !ok {
			t.Errorf("%s has its names from service %s, which is not there", s.Name, s.Spec.ServiceName)
		}
		pod, node := s.Spec.Template.Spec, s.Spec.Template.Spec.Containers[0]
		if node.LivenessProbe.HTTPGet.Path != "/livez" || node.ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("%s is probed at %s and %s", s.Name, node.LivenessProbe.HTTPGet.Path, node.ReadinessProbe.HTTPGet.Path)
		}
		if *pod.TerminationGracePeriodSeconds <= 10 {
			t.Errorf("%s has %d s to stop, and may need ten", s.Name, *pod.TerminationGracePeriodSeconds)
		}
		if !slices.ContainsFunc(node.Env, func(e corev1.EnvVar) bool {
			return e.Name == "COORDINATOR_ADVERTISE_URL" && strings.Contains(e.Value, "."+s.Spec.ServiceName+".$(POD_NAMESPACE).svc:7400")
		}) {
			t.Errorf("%s does not advertise its name in %s", s.Name, s.Spec.ServiceName)
		}
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == "coordinator" }) ||
			!strings.HasPrefix(m.configs["coordinator"].Data["COORDINATOR_AUTH_TOKEN_FILE"], node.VolumeMounts[1].MountPath+"/") {
			t.Errorf("%s has no tokens", s.Name)
		}
		if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
			t.Errorf("%s is told COORDINATOR_ variables by Kubernetes itself", s.Name)
		}
		for _, from := range node.EnvFrom {
			if _, ok := m.configs[from.ConfigMapRef.Name]; !ok {
				t.Errorf("%s reads config map %s, which is not there", s.Name, from.ConfigMapRef.Name)
			}
		}
	}
	for maker, pod := range m.pods() {
		p, c := pod.Spec.SecurityContext, pod.Spec.Containers[0].SecurityContext
		if !*p.RunAsNonRoot || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *c.AllowPrivilegeEscalation ||
			!*c.ReadOnlyRootFilesystem || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) || *pod.Spec.AutomountServiceAccountToken {
			t.Errorf("%s may do more than it needs", maker)
		}
		for _, v := range pod.Spec.Volumes {
			if v.ConfigMap == nil {
				continue
			}
			if _, ok := m.configs[v.ConfigMap.Name]; !ok {
				t.Errorf("%s mounts config map %s, which is not there", maker, v.ConfigMap.Name)
			}
		}
	}
}

// Drains never take two of the nodes that may lead, and the other nodes never hold one up.
func TestManifests_Budget(t *testing.T) {
	m := readManifests(t)
	if len(m.budgets) != 1 || m.budgets[0].Spec.MaxUnavailable.IntValue() != 1 {
		t.Fatalf("budgets %+v, want one of one node", m.budgets)
	}
	selector, err := metav1.LabelSelectorAsSelector(m.budgets[0].Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	for maker, pod := range m.pods() {
		if got := selector.Matches(labels.Set(pod.Labels)); got != (maker == "coordinator") {
			t.Errorf("the budget counts %s: %t", maker, got)
		}
	}
}
