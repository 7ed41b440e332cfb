package readmission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/box"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/controlplane"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/registry"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/rundir"
)

const (
	nodeName = "node-1"
	resource = "example.com/vfs"
	vfs      = 8
	held     = 4 // pods, each with one VF
	criSock  = "/run/containerd/containerd.sock"
)

// node is a box with a kubelet, containerd and sriovd, and the control plane that has
// its pods.
type node struct {
	t       *testing.T
	ctx     context.Context
	b       *artifact.Builder
	cp      *controlplane.ControlPlane
	dir     string
	cgroup  string   // of its pods
	cgroups []string // its directory, in each hierarchy
	kubelet string   // the log of the newest kubelet
	static  bool     // its pods are static ones
	boots   int
	box     *box.Box // nil while it is off
}

// newNode makes a node that is off.
func newNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run containers on this machine")
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	context.AfterFunc(interrupted, cancel)
	n := &node{t: t, ctx: ctx}
	var err error
	n.b, err = artifact.NewBuilder(nil)
	n.must(err)
	images, err := n.b.Kubernetes(ctx)
	n.must(err)
	dir, sockets, err := rundir.New(filepath.Join(n.b.Out, "run"))
	n.must(err)
	n.dir = dir
	t.Cleanup(func() {
		if err := os.RemoveAll(sockets); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	secrets, err := controlplane.NewSecrets()
	n.must(err)
	ports, err := proc.Ports(2)
	n.must(err)
	n.cp, err = controlplane.Start(ctx, controlplane.Config{
		Dir: filepath.Join(dir, "control-plane"), Port: ports[0], Sockets: sockets, Bin: n.b.Bin,
		PKI: controlplane.PKI{Dir: filepath.Join(dir, "pki"), Talos: secrets},
	})
	n.must(err)
	t.Cleanup(n.cp.Stop)
	images = slices.DeleteFunc(images, func(i archive.Image) bool { return i.Name != artifact.PauseImage })
	reg, err := registry.Start(ctx, 0, images)
	n.must(err)
	t.Cleanup(reg.Close)
	mirror, err := reg.Port()
	n.must(err)
	n.cgroup = filepath.Base(dir)
	n.makeCgroups()
	n.writeFiles(mirror, ports[1])
	t.Cleanup(n.powerOff) // before the cgroups are removed
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) file(name string) string { return filepath.Join(n.dir, "node", name) }

// tunables are what a kubelet sets in the kernel. It finds these files instead, with what
// it would have written, so that the host's kernel keeps its own.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// writeFiles writes all that the programs of the node read.
func (n *node) writeFiles(mirror, port int) {
	n.t.Helper()
	files := map[string]string{
		"sriov.yaml": "apiVersion: v1alpha1\nkind: SRIOVConfig\ncni: {install: false}\nhealth: {link: false}\n" +
			"resourceList:\n- {resourcePrefix: example.com, resourceName: vfs, selectors: {drivers: [iavf]}}\n",
		"certs.d/_default/hosts.toml": fmt.Sprintf("[host.\"http://127.0.0.1:%d\"]\ncapabilities = [\"pull\", \"resolve\"]\n", mirror),
		"cni/10-lab.conflist":         `{"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "loopback"}]}`,
		"containerd.toml": fmt.Sprintf(`version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = %q
[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
conf_dir = %q
bin_dirs = [%q]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = false
`, artifact.PauseImage, n.file("certs.d"), n.file("cni"), n.b.Bin(""), n.b.Bin("runc")),
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %d
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
cgroupRoot: /%s
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
resolvConf: ""
nodeStatusUpdateFrequency: 1s
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", imagefs.available: "0%%"}
logging: {format: json}
staticPodPath: %s
`, port, criSock, n.cgroup, n.file("manifests")),
	}
	for name, value := range tunables {
		files["sys/"+name] = value + "\n"
	}
	for name, content := range files {
		path := n.file(name)
		n.must(os.MkdirAll(filepath.Dir(path), 0o755))
		n.must(os.WriteFile(path, []byte(content), 0o644))
	}
	for _, dir := range []string{"lib", "log", "manifests"} {
		n.must(os.MkdirAll(n.file(dir), 0o755))
	}
	makeSysfs(n.t, n.file("sysfs"), vfs)
}

// powerOn boots the node; nothing runs on it yet.
func (n *node) powerOn() {
	n.t.Helper()
	n.boots++
	bootID := n.file("boot_id")
	n.must(os.WriteFile(bootID, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n.boots), 0o644))
	binds := map[string]string{
		"/var/lib": n.file("lib"), "/var/log": n.file("log"),
		"/proc/sys/kernel/random/boot_id": bootID,
	}
	for name := range tunables {
		binds["/proc/sys/"+name] = n.file("sys/" + name)
	}
	var err error
	n.box, err = box.Boot(box.Config{Binds: binds, Tmpfs: []string{"/run"}})
	n.must(err)
}

// powerOff ends all at once. A boot finds no cgroups either: the kubelet spends a minute
// on those whose containers are gone.
func (n *node) powerOff() {
	if n.box == nil {
		return
	}
	n.box.PowerOff()
	n.box = nil
	for _, dir := range n.cgroups {
		if err := emptyCgroups(dir); err != nil {
			n.t.Errorf("remove the cgroups of the pods: %v", err)
		}
	}
}

// startContainerd returns when containerd takes calls of a kubelet. Its socket is there
// before that, and a kubelet whose first call fails ends.
func (n *node) startContainerd() {
	n.t.Helper()
	log := n.file("containerd.log")
	if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Fatal(err)
	}
	n.must(n.box.Start(box.Program{
		Name: "containerd", Path: n.b.Bin("containerd"), Args: []string{"--config", n.file("containerd.toml")},
		Env: []string{"PATH=" + n.b.Bin("") + ":" + os.Getenv("PATH")}, Log: log,
	}))
	n.wait("wait for containerd", often, func() (bool, error) {
		text, err := os.ReadFile(log)
		return bytes.Contains(text, []byte("containerd successfully booted")), err
	})
}

// startDaemon starts sriovd, by the way of registration of these flags.
func (n *node) startDaemon(w way) {
	n.t.Helper()
	args := []string{
		"run", "-config", n.file("sriov.yaml"), "-sysfs", n.file("sysfs"), "-host-root", "/", "-kubelet-dir", "/var/lib/kubelet",
		"-run-dir", "/run", "-state-dir", "/var/lib/sriov", "-device-info-dir", "/run/k8s.cni.cncf.io/devinfo/dp",
		"-cdi-dir", "/run/cdi", "-opt-dir", "/var/lib/opt", "-cni-plugin", "",
	}
	n.must(n.box.Start(box.Program{
		Name: "sriovd", Path: filepath.Join(n.b.Repo, "_out/bin/linux-amd64/sriovd"), Args: append(args, w.flags...), Log: n.file("sriovd.log"),
	}))
}

// waitDaemon waits until the kubelet could find sriovd's socket.
func (n *node) waitDaemon(w way) {
	n.t.Helper()
	n.wait("wait for sriovd's socket", often, func() (bool, error) {
		links, err := filepath.Glob(filepath.Join(n.file("lib/kubelet"), w.dir, "*.sock"))
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				if _, err := os.Stat(n.box.Path(target)); err == nil {
					return true, nil
				}
			}
		}
		return false, err
	})
}

// startKubelet returns when the program runs.
func (n *node) startKubelet() {
	n.t.Helper()
	if n.kubelet != "" {
		n.must(os.Remove(n.kubelet))
	}
	n.kubelet = n.file(fmt.Sprintf("kubelet-%d.log", time.Now().UnixNano()))
	n.must(n.box.Start(box.Program{
		Name: "kubelet", Path: n.b.Bin(artifact.Kubelet), Log: n.kubelet,
		Args: []string{
			"--config=" + n.file("kubelet.yaml"), "--kubeconfig=" + n.cp.Kubeconfig, "--hostname-override=" + nodeName,
			"--node-ip=" + n.address(), "--v=3",
		},
	}))
}

// address is one of this machine's. Without one the kubelet asks a name server for its
// node's, in the middle of its start.
func (n *node) address() string {
	n.t.Helper()
	addrs, err := net.InterfaceAddrs()
	n.must(err)
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	n.t.Skip("this machine has no address but the loopback's, which a kubelet does not take")
	return ""
}

// alive says which program has ended.
func (n *node) alive() error {
	if n.box == nil {
		return n.cp.Err()
	}
	ended, err := n.box.Ended()
	err = errors.Join(err, n.cp.Err())
	for _, name := range ended {
		log := n.file(name + ".log")
		if name == "kubelet" {
			log = n.kubelet
		}
		err = errors.Join(err, fmt.Errorf("%s has ended; the end of its log:\n%s", name, proc.Tail(log, 15)))
	}
	return err
}

// waitFor is how long anything may take. What is looked at often does not cost much; the
// API server would take the processor from the kubelet.
const (
	waitFor = 2 * time.Minute
	often   = 10 * time.Millisecond
	seldom  = 200 * time.Millisecond
)

// wait calls f every so often until it reports true.
func (n *node) wait(what string, every time.Duration, f func() (bool, error)) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, waitFor)
	defer cancel()
	n.must(proc.Poll(ctx, what, every, func() (bool, error) {
		if err := n.alive(); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		return f()
	}))
}

const podsPath = "/api/v1/namespaces/default/pods"

// pods are all pods, by name.
func (n *node) pods() (map[string]kube.Pod, error) {
	var list struct {
		Items []kube.Pod `json:"items"`
	}
	if err := n.cp.Client.Get(n.ctx, podsPath, &list); err != nil {
		return nil, err
	}
	pods := map[string]kube.Pod{}
	for _, p := range list.Items {
		pods[p.Metadata.Name] = p
	}
	return pods, nil
}

// waitPods waits until there are all pods, each as f wants it; f says in its error what
// is missing.
func (n *node) waitPods(what string, f func(kube.Pod) error) map[string]kube.Pod {
	n.t.Helper()
	var pods map[string]kube.Pod
	n.wait("wait for the pods to be "+what, seldom, func() (bool, error) {
		var err error
		if pods, err = n.pods(); err == nil && len(pods) != held {
			err = fmt.Errorf("there are %d pods", len(pods))
		}
		for _, p := range pods {
			err = errors.Join(err, f(p))
		}
		return err == nil, err
	})
	return pods
}

// podName is a pod's name in the API server: that of a static pod has the node's at its
// end.
func (n *node) podName(i int) string {
	name := fmt.Sprintf("holder-%d", i)
	if n.static {
		return name + "-" + nodeName
	}
	return name
}

func (n *node) manifest(i int) string { return n.file(fmt.Sprintf("manifests/holder-%d.yaml", i)) }

// makePods makes the pods that are missing, and waits until all run.
func (n *node) makePods() map[string]kube.Pod {
	n.t.Helper()
	have, err := n.pods()
	n.must(err)
	for i := range held {
		if _, ok := have[n.podName(i)]; ok {
			continue
		}
		text := fmt.Appendf(nil, `apiVersion: v1
kind: Pod
metadata: {name: holder-%d, namespace: default}
spec:
  hostNetwork: true
  restartPolicy: Always
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers:
  - name: holder
    image: %s
    # Without a request the container would start when nobody else wants the processor.
    resources: {requests: {cpu: 250m}, limits: {%s: "1"}}
`, i, artifact.PauseImage, resource)
		if n.static {
			n.must(os.WriteFile(n.manifest(i), text, 0o644))
		} else {
			n.must(n.cp.Client.Apply(n.ctx, podsPath+"/"+n.podName(i), text))
		}
	}
	return n.waitPods("running", running)
}

func running(p kube.Pod) error {
	if p.Metadata.DeletionTimestamp != nil || !p.Ready() {
		return fmt.Errorf("pod %s: %s %s %s %+v", p.Metadata.Name, p.Status.Phase, p.Status.Reason, p.Status.Message, p.Status.Conditions)
	}
	return nil
}

// refused reports whether the kubelet did not admit the pod.
func refused(p kube.Pod) bool {
	return p.Status.Phase == "Failed" && p.Status.Reason == "UnexpectedAdmissionError"
}

// removePods deletes the pods that pick picks, and waits until they are gone.
func (n *node) removePods(pick func(name string) bool) {
	n.t.Helper()
	var names []string
	for i := range held {
		name := n.podName(i)
		if !pick(name) {
			continue
		}
		names = append(names, name)
		if n.static {
			n.must(os.Remove(n.manifest(i)))
			continue
		}
		_, err := n.cp.Client.Raw(n.ctx, http.MethodDelete, podsPath+"/"+name, "", nil)
		n.must(err)
	}
	n.wait("wait for the pods to be deleted", seldom, func() (bool, error) {
		pods, err := n.pods()
		for _, name := range names {
			if _, ok := pods[name]; ok {
				err = errors.Join(err, fmt.Errorf("pod %s is there", name))
			}
		}
		return err == nil, err
	})
}
