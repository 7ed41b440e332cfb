package talos_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

const patchDir = "../../machineconfig-patches"

// mode is where the node runs: validation of network settings differs.
type mode struct{}

func (mode) String() string        { return "metal" }
func (mode) RequiresInstall() bool { return true }
func (mode) InContainer() bool     { return false }

// bundle holds the secrets of the generated configurations: making keys takes
// longer than everything else here.
var bundle = sync.OnceValues(func() (*secrets.Bundle, error) {
	return secrets.NewBundle(secrets.NewClock(), config.TalosVersion1_12)
})

// generated returns a machine config as `talosctl gen config` makes it for the
// version, as YAML.
func generated(t *testing.T, version string, kind machine.Type) []byte {
	t.Helper()
	contract, err := config.ParseContractFromVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := bundle()
	if err != nil {
		t.Fatal(err)
	}
	in, err := generate.NewInput("test", "https://10.5.0.2:6443", "1.35.0",
		generate.WithVersionContract(contract), generate.WithSecretsBundle(secret), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := in.Config(kind)
	if err != nil {
		t.Fatal(err)
	}
	data, err := provider.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// merge applies the patches in order and validates the result as Talos does on
// a metal node.
func merge(t *testing.T, base []byte, patches ...[]byte) ([]byte, error) {
	t.Helper()
	var loaded []configpatcher.Patch
	for _, p := range patches {
		l, err := configpatcher.LoadPatch(p)
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, l)
	}
	out, err := configpatcher.Apply(configpatcher.WithBytes(base), loaded)
	if err != nil {
		return nil, err
	}
	data, err := out.Bytes()
	if err != nil {
		return nil, err
	}
	provider, err := configloader.NewFromBytes(data)
	if err != nil {
		return nil, err
	}
	if _, err := provider.Validate(mode{}); err != nil {
		return nil, err
	}
	return provider.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
}

// patchFiles lists the patches in a directory of machineconfig-patches, by base
// name, never none.
func patchFiles(t *testing.T, directory string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(patchDir, directory, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no patches in %s: %v", directory, err)
	}
	out := make(map[string][]byte)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = data
	}
	return out
}

func kinds(name string) []machine.Type {
	if strings.HasPrefix(name, "multus") {
		return []machine.Type{machine.TypeControlPlane}
	}
	return []machine.Type{machine.TypeWorker, machine.TypeControlPlane}
}

// TestPatches merges every patch with Talos' own code, into the configurations
// that Talos generates, and gives what is in it to our own decoder.
func TestPatches(t *testing.T) {
	for name, patch := range patchFiles(t, ".") {
		t.Run(name, func(t *testing.T) {
			checkDocument(t, name, patch)
			for _, version := range []string{"1.12", "1.13"} {
				for _, kind := range kinds(name) {
					base := generated(t, version, kind)
					once, err := merge(t, base, patch)
					if err != nil {
						t.Fatalf("%s %s: %v", version, kind, err)
					}
					if bytes.Equal(base, once) {
						t.Errorf("%s %s: the patch changes nothing", version, kind)
					}
					twice, err := merge(t, once, patch)
					if err != nil {
						t.Fatalf("%s %s: merged again: %v", version, kind, err)
					}
					if diff := cmp.Diff(string(once), string(twice)); diff != "" {
						t.Errorf("%s %s: merging again changes (-once +twice):\n%s", version, kind, diff)
					}
				}
			}
		})
	}
}

// TestPatchesKeepTalosOffVFs: a patch that makes VFs with interfaces tells Talos
// to leave these alone, which else brings them up and asks for addresses. Kernel
// arguments are not in any patch: nodes that boot a unified kernel image ignore
// them there.
func TestPatchesKeepTalosOffVFs(t *testing.T) {
	kept := 0
	for name, patch := range patchFiles(t, ".") {
		if bytes.Contains(patch, []byte("extraKernelArgs:")) {
			t.Errorf("%s: kernel arguments belong in the schematic", name)
		}
		c, err := spec.LoadFile(name, patch)
		if err != nil {
			continue // TestPatches says what is wrong
		}
		provider, err := configloader.NewFromBytes(patch)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ignored := false
		if machine := provider.RawV1Alpha1().MachineConfig; machine != nil && machine.MachineNetwork != nil { //nolint:staticcheck // these keys are what 1.12 has
			for _, i := range machine.MachineNetwork.NetworkInterfaces { //nolint:staticcheck // as above
				ignored = ignored || i.DeviceIgnore != nil && *i.DeviceIgnore && i.DeviceSelector != nil
			}
		}
		if wants := talos.HasKernelVFs(c); wants != ignored {
			t.Errorf("%s: VFs with interfaces: %v, but they are left to nobody else: %v", name, wants, ignored)
		} else if wants {
			kept++
		}
	}
	if kept < 4 {
		t.Errorf("only %d patches make VFs with interfaces", kept)
	}
}

// TestAllPatchesTogether: a node may get several. Our config is one,
// so the last one wins, and everything else adds up.
func TestAllPatchesTogether(t *testing.T) {
	patches := patchFiles(t, ".")
	var all [][]byte
	for _, directory := range []string{"once", "."} {
		for _, p := range patchFiles(t, directory) {
			all = append(all, p)
		}
	}
	got, err := merge(t, generated(t, "1.13", machine.TypeControlPlane), append(all, patches["mixed-pools.yaml"])...)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), "kind: ExtensionServiceConfig"); n != 1 {
		t.Errorf("%d documents of kind ExtensionServiceConfig, want 1", n)
	}
	config, err := spec.Extract("merged", got)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config.Data), "nvidia.com/cx7_dpdk") {
		t.Errorf("the last patch did not win:\n%s", config.Data)
	}
}

// checkDocument loads the config in a patch.
func checkDocument(t *testing.T, name string, patch []byte) {
	t.Helper()
	if _, err := spec.LoadFile(name, patch); err != nil {
		t.Error(err)
	}
}

// TestOncePatches keeps the reason for the directory: Talos appends to these lists.
// When this fails, Talos has learned better and the patches may move up.
func TestOncePatches(t *testing.T) {
	for name, patch := range patchFiles(t, "once") {
		t.Run(name, func(t *testing.T) {
			for _, version := range []string{"1.12", "1.13"} {
				for _, kind := range kinds(name) {
					once, err := merge(t, generated(t, version, kind), patch)
					if err != nil {
						t.Fatalf("%s %s: %v", version, kind, err)
					}
					twice, err := merge(t, once, patch)
					if err == nil && bytes.Equal(once, twice) {
						t.Errorf("%s %s: merging again changes nothing, so the patch may be repeated", version, kind)
					}
				}
			}
		})
	}
}

// TestNewDocuments holds the files for newer versions against the table: Talos
// of the newest version that we can link refuses each, the table knows kind and
// keys, and each has what the file of the same name for older versions has.
func TestNewDocuments(t *testing.T) {
	known := make(map[string][]string)
	for _, v := range versions.All() {
		if v.Version == "1.14" {
			known = v.Kinds
		}
	}
	for name, data := range patchFiles(t, "v1.14") {
		t.Run(name, func(t *testing.T) {
			if _, err := configloader.NewFromBytes(data); err == nil {
				t.Error("the configuration loader of 1.13 knows this: it need not stand apart")
			}
			dec := yaml.NewDecoder(bytes.NewReader(data))
			for n := 0; ; n++ {
				var doc map[string]any
				err := dec.Decode(&doc)
				if errors.Is(err, io.EOF) {
					if n == 0 {
						t.Error("no document")
					}
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				kind, _ := doc["kind"].(string)
				keys, ok := known[kind]
				if !ok {
					t.Errorf("kind %q is not in the table of versions", kind)
				}
				if doc["apiVersion"] != "v1alpha1" {
					t.Errorf("%s: apiVersion %v", kind, doc["apiVersion"])
				}
				for key := range doc {
					if key != "apiVersion" && key != "kind" && !slices.Contains(keys, key) {
						t.Errorf("%s: key %q is not in the table of versions", kind, key)
					}
				}
			}
		})
	}
}

// manifests returns the Kubernetes objects in a patch of either version.
func manifests(t *testing.T, data []byte) []map[string]any {
	t.Helper()
	var texts []string
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc struct {
			Manifest string
			Cluster  struct {
				InlineManifests []struct{ Contents string } `yaml:"inlineManifests"`
			}
		}
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if doc.Manifest != "" {
			texts = append(texts, doc.Manifest)
		}
		for _, m := range doc.Cluster.InlineManifests {
			texts = append(texts, m.Contents)
		}
	}
	var out []map[string]any
	for _, text := range texts {
		dec := yaml.NewDecoder(strings.NewReader(text))
		for {
			var object map[string]any
			err := dec.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			out = append(out, object)
		}
	}
	return out
}

// TestMultus: what Multus needs on Talos. Its daemon finds a pod's network
// namespace at the path that the container runtime says, below /var/run, which
// is /run in its own image and is not on Talos.
func TestMultus(t *testing.T) {
	older := manifests(t, patchFiles(t, "once")["multus.yaml"])
	newer := manifests(t, patchFiles(t, "v1.14")["multus.yaml"])
	if diff := cmp.Diff(older, newer); diff != "" {
		t.Errorf("the objects differ between versions (-1.13 +1.14):\n%s", diff)
	}
	objects := map[string][]byte{}
	for _, o := range older {
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		objects[o["kind"].(string)] = data
	}
	for _, kind := range []string{"CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"} {
		if objects[kind] == nil {
			t.Errorf("no %s", kind)
		}
	}
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal(objects["ConfigMap"], &config); err != nil {
		t.Fatal(err)
	}
	var daemon struct{ ChrootDir, SocketDir, CNIConfigDir, MultusConfigFile string }
	if err := json.Unmarshal([]byte(config.Data["daemon-config.json"]), &daemon); err != nil {
		t.Fatal(err)
	}
	type container struct {
		Image        string
		VolumeMounts []struct {
			Name             string
			MountPath        string `yaml:"mountPath"`
			MountPropagation string `yaml:"mountPropagation"`
		} `yaml:"volumeMounts"`
	}
	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					InitContainers []container `yaml:"initContainers"`
					Containers     []container
					Volumes        []struct {
						Name     string
						HostPath struct{ Path string } `yaml:"hostPath"`
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(objects["DaemonSet"], &set); err != nil {
		t.Fatal(err)
	}
	pod := set.Spec.Template.Spec
	host := map[string]string{} // volume -> path on the node
	for _, v := range pod.Volumes {
		host[v.Name] = v.HostPath.Path
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 1 || pod.Containers[0].Image != pod.InitContainers[0].Image {
		t.Fatalf("containers: %+v", pod)
	}
	mounts := map[string]string{} // path in the container -> path on the node
	for _, m := range pod.Containers[0].VolumeMounts {
		if _, ok := host[m.Name]; !ok {
			t.Errorf("there is no volume %s", m.Name)
		}
		mounts[m.MountPath] = host[m.Name]
		if slices.Contains([]string{"netns", "root", "kubelet"}, m.Name) && m.MountPropagation != "HostToContainer" {
			t.Errorf("%s: what the node mounts later is not seen in the container", m.Name)
		}
	}
	for path, want := range map[string]string{
		"/run/netns":        "/var/run/netns",
		"/opt/cni/bin":      "/opt/cni/bin",
		daemon.ChrootDir:    "/",
		daemon.CNIConfigDir: "/etc/cni/net.d",
		strings.TrimSuffix(daemon.SocketDir, "/multus/"): "/run",
		"/run/k8s.cni.cncf.io":                           "/run/k8s.cni.cncf.io",
		"/var/lib/kubelet":                               "/var/lib/kubelet",
	} {
		if mounts[path] != want {
			t.Errorf("%s in the container is %q of the node, want %q", path, mounts[path], want)
		}
	}
}

func TestMultusNetwork(t *testing.T) {
	older := manifests(t, patchFiles(t, "once")["multus-network.yaml"])
	newer := manifests(t, patchFiles(t, "v1.14")["multus-network.yaml"])
	if diff := cmp.Diff(older, newer); diff != "" {
		t.Errorf("the objects differ between versions (-1.13 +1.14):\n%s", diff)
	}
	if len(older) != 2 {
		t.Fatalf("%d objects, want the network and the pod", len(older))
	}
	network := older[0]
	text, _ := network["spec"].(map[string]any)["config"].(string)
	var conf struct{ Name, Type, CNIVersion string }
	if err := json.Unmarshal([]byte(text), &conf); err != nil {
		t.Fatalf("the network's config: %v\n%s", err, text)
	}
	meta := network["metadata"].(map[string]any)
	if conf.Type != "sriov" || conf.Name != meta["name"] {
		t.Errorf("config %+v in network %v", conf, meta["name"])
	}
	resource := meta["annotations"].(map[string]any)["k8s.v1.cni.cncf.io/resourceName"].(string)
	pod, err := yaml.Marshal(older[1])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(pod), resource) != 2 {
		t.Errorf("the pod does not request and limit %s:\n%s", resource, pod)
	}
}
