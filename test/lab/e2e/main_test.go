package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const (
	pfA      = "0000:21:00.0" // NUMA node 0
	pfB      = "0000:41:00.0" // NUMA node 1
	resource = "intel.com/82576"
	env      = "PCIDEVICE_INTEL_COM_82576"
	ext      = "ext-sriov"
)

// shared is the node that most cases use, nil until the first of them asks.
var shared struct {
	ctx  context.Context
	node *lab.Node
	err  error
}

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	shared.ctx = ctx
	code := m.Run()
	end()
	stop()
	os.Exit(code)
}

// node returns the shared node, without a document, without VFs, without pods.
func node(t *testing.T) *node_ {
	t.Helper()
	uninterrupted(t)
	used := shared.node != nil
	if shared.node == nil && shared.err == nil {
		shared.node, shared.err = lab.Start(shared.ctx, lab.Options{})
	}
	if shared.err != nil {
		t.Fatalf("the shared node: %v", shared.err)
	}
	n := &node_{Node: shared.node, t: t}
	t.Cleanup(func() {
		// The next case must not fail by what this one left.
		if t.Failed() {
			end()
		}
	})
	n.Watch(t)
	if used {
		n.reset()
	}
	return n
}

// restored is node for a case that needs a node that no other case has used.
func restored(t *testing.T) *node_ {
	t.Helper()
	end()
	return node(t)
}

// end ends the shared node.
func end() {
	if shared.node != nil {
		shared.node.Close()
		shared.node = nil
	}
}

func uninterrupted(t *testing.T) {
	t.Helper()
	if shared.ctx.Err() != nil {
		t.Fatal("interrupted")
	}
}

// boot ends the shared node, because two of them at a time are too much for two
// cores, and boots one for this case alone.
func boot(t *testing.T, opts lab.Options) *node_ {
	t.Helper()
	uninterrupted(t)
	end()
	opts.FreshBoot = true
	fresh, err := lab.Start(shared.ctx, opts)
	if err != nil {
		t.Fatalf("boot: %v", err)
	}
	t.Cleanup(fresh.Close)
	n := &node_{Node: fresh, t: t}
	n.Watch(t)
	return n
}

// node_ is a node with the test that uses it: what fails, fails the test.
type node_ struct {
	*lab.Node
	t     *testing.T
	bound context.Context // of ctx
}

// ctx ends with the test, or when the run is interrupted.
func (n *node_) ctx() context.Context {
	if n.bound == nil {
		ctx, cancel := context.WithCancel(n.t.Context())
		n.t.Cleanup(cancel)
		context.AfterFunc(shared.ctx, cancel)
		n.bound = ctx
	}
	return n.bound
}

func (n *node_) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node_) run(script string) string {
	n.t.Helper()
	out, err := n.Exec(n.ctx(), script)
	if err != nil {
		n.t.Fatalf("in the guest: %s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// reset makes the node as it was when it was new.
func (n *node_) reset() {
	n.t.Helper()
	// A case before may have stopped and started it.
	n.must(n.WaitFor(n.ctx(), "wait for the extension to run", func(ctx context.Context) (bool, error) {
		s, err := n.Service(ext).State(ctx)
		return s.State == "Running", err
	}))
	n.must(n.DeletePods(n.ctx()))
	n.remove()
	n.status("without a document", func(s status) bool { return s.Spec.State == "absent" })
	// The scheduler believes the node object, which follows the kubelet with a
	// delay: a pod must not be placed by what the case before offered.
	n.must(n.WaitFor(n.ctx(), "wait for nothing to be allocatable", func(ctx context.Context) (bool, error) {
		k, err := n.KubeNode(ctx)
		if err != nil {
			return false, err
		}
		for resource, count := range k.Status.Allocatable {
			if strings.Contains(resource, "/") && count != "0" {
				return false, fmt.Errorf("%s of %s", count, resource)
			}
		}
		return true, nil
	}))
	n.run(`for p in /sys/bus/pci/devices/*/sriov_numvfs; do [ "$(cat $p)" = 0 ] || echo 0 >$p; done`)
}

// document patches a config into the machine config, and waits until the extension has
// it: after a change, which the process sees before Talos restarts it, the next one.
func (n *node_) document(spec string) {
	n.t.Helper()
	spec = strings.TrimSpace(spec) + "\n"
	want := fmt.Sprintf("%x", sha256.Sum256([]byte(spec)))
	set := func() { n.must(n.SetDocument(n.ctx(), patch(spec))) }
	if have := n.config(); have == "" || have == strings.TrimSpace(spec) {
		set()
	} else {
		n.restarts(set)
	}
	n.status("the config seen", func(s status) bool { return s.Spec.Hash == want })
}

// remove removes the config, if there is one: Talos refuses to remove what is not there.
func (n *node_) remove() {
	n.t.Helper()
	if n.config() != "" {
		n.restarts(func() { n.must(n.RemoveDocument(n.ctx(), "sriov")) })
	}
}

// config is the config that Talos gives the extension, or empty.
func (n *node_) config() string {
	n.t.Helper()
	return n.run("cat /system/overlays/extensions/sriov/etc-sriov-config.yaml 2>/dev/null || true")
}

// restarts waits until Talos has restarted the service over a change, and until there is
// a status of the new process.
func (n *node_) restarts(change func()) {
	n.t.Helper()
	old, was := n.daemon(), n.status("a status", func(s status) bool { return s.Daemon.Started != "" })
	change()
	n.must(n.WaitFor(n.ctx(), "wait until Talos has restarted the service", func(ctx context.Context) (bool, error) {
		now, err := n.Service(ext).State(ctx)
		return now.State == "Running" && now.PID != old.PID, err
	}))
	n.status("the new process", func(s status) bool { return s.Daemon.Started != was.Daemon.Started })
}

// vfio loads what VFs for user space need, by the patch that the project ships.
func (n *node_) vfio() {
	n.t.Helper()
	dir := "v1.14"
	if n.Version() < "v1.14" {
		dir = "once"
	}
	text, err := os.ReadFile("../../../machineconfig-patches/" + dir + "/vfio-module.yaml")
	n.must(err)
	n.must(n.Patch(n.ctx(), string(text)))
	n.must(n.WaitFor(n.ctx(), "wait for vfio-pci", func(ctx context.Context) (bool, error) {
		_, err := n.Exec(ctx, "[ -e /sys/bus/pci/drivers/vfio-pci ]")
		return err == nil, err
	}))
}

// patch wraps a spec into the machine-config document.
func patch(spec string) string {
	return "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n" +
		"  - mountPath: /etc/sriov/config.yaml\n    content: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n      ") + "\n"
}

// vfs is a spec with one PF.
func vfs(pf string, count int) string {
	return fmt.Sprintf(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: [%q]}
    numVFs: %d
    resourceName: %s`, pf, count, resource)
}

// numVFs is what the kernel says.
func (n *node_) numVFs(pf string) int {
	n.t.Helper()
	v, err := strconv.Atoi(n.run("cat /sys/bus/pci/devices/" + pf + "/sriov_numvfs"))
	n.must(err)
	return v
}

// waitVFs waits until the kernel has that many.
func (n *node_) waitVFs(pf string, want int) {
	n.t.Helper()
	n.must(n.WaitFor(n.ctx(), fmt.Sprintf("wait for %d VFs", want), func(context.Context) (bool, error) {
		have := n.numVFs(pf)
		return have == want, fmt.Errorf("the kernel has %d", have)
	}))
}

// allocatable waits until the API server has that many.
func (n *node_) allocatable(want int) {
	n.t.Helper()
	n.must(n.WaitAllocatable(n.ctx(), resource, want))
}

// status is the part of the status file that the cases read.
type status struct {
	Daemon struct {
		PID     int    `yaml:"pid"`
		BootID  string `yaml:"bootID"`
		Started string `yaml:"started"`
		Writes  int64  `yaml:"writes"`
		Version string `yaml:"version"`
	} `yaml:"daemon"`
	Spec struct {
		State    string `yaml:"state"`
		Hash     string `yaml:"hash"`
		InForce  string `yaml:"inForce"`
		LastGood bool   `yaml:"lastGood"`
		Errors   []problem
	} `yaml:"spec"`
	RDMANetns string `yaml:"rdmaNetns"`
	PFs       []struct {
		Address string `yaml:"address"`
		State   string `yaml:"state"`
		Steps   []struct {
			ID   string `yaml:"id"`
			Wait []struct{ Namespace, Pod, Evidence string }
		}
		Problems []problem
		Notices  []problem
		Drift    int `yaml:"drift"`
	} `yaml:"pfs"`
	CNI struct {
		State, Owner, Path, Version, Reason, Hint string
	} `yaml:"cni"`
	Orphans struct {
		Returned int
		Pending  []struct{ Device, Attachment, Reason string }
	} `yaml:"orphans"`
	Pools []pool `yaml:"pools"`
}

type pool struct {
	ResourceName     string `yaml:"resourceName"`
	Devices, Healthy int
	Registered       bool
	Members          []struct{ ID, Reason string }
}

type problem struct {
	Pos       struct{ Line, Column int }
	Msg, Hint string
}

// status waits until the status file of this boot satisfies ok.
func (n *node_) status(what string, ok func(status) bool) status {
	n.t.Helper()
	var s status
	var raw []byte
	err := n.WaitFor(n.ctx(), "wait for the status: "+what, func(ctx context.Context) (bool, error) {
		text, err := n.Get(ctx, "/var/lib/sriov/status.yaml")
		if err != nil {
			return false, err
		}
		raw, s = text, status{}
		if err := yaml.Unmarshal(raw, &s); err != nil {
			return false, err
		}
		return ok(s), nil
	})
	if err != nil {
		n.t.Fatalf("%v\nthe status is:\n%s", err, raw)
	}
	return s
}

// registered waits until so many pools are registered with the kubelet. After a restart
// of the service the node object may have what was allocatable before.
func (n *node_) registered(pools int) {
	n.t.Helper()
	n.status("pools registered", func(s status) bool {
		return len(s.Pools) == pools && !slices.ContainsFunc(s.Pools, func(p pool) bool { return !p.Registered })
	})
}

// pod makes a pod that asks for so many VFs and prints its environment.
func (n *node_) pod(name string, count int) { n.podOf(name, resource, count) }

func (n *node_) podOf(name, resource string, count int) {
	n.t.Helper()
	n.must(n.Apply(n.ctx(), fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  dnsPolicy: Default
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: %s
      command: [sh, -c, "env; ls -C1 /dev/vfio 2>/dev/null | sed 's/^/VFIO=/'; trap 'exit 0' TERM; while :; do sleep 1; done"]
      resources: {limits: {%s: %d}}
`, name, lab.Image, resource, count)))
}

func (n *node_) running(name string) lab.Pod {
	n.t.Helper()
	p, err := n.WaitPod(n.ctx(), name, "running", func(p lab.Pod) bool {
		return p.Status.Phase == "Failed" || p.Status.Phase == "Running" && p.Ready()
	})
	n.must(err)
	if p.Status.Phase == "Failed" {
		n.t.Fatalf("pod %s failed: %s: %s", name, p.Status.Reason, p.Status.Message)
	}
	return p
}

// env is a variable that the pod printed.
func (n *node_) env(pod, name string) string {
	n.t.Helper()
	var value string
	n.must(n.WaitFor(n.ctx(), "wait for "+name+" in the log of pod "+pod, func(ctx context.Context) (bool, error) {
		out, err := n.PodLogs(ctx, pod)
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(out) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
				value = v
				return true, nil
			}
		}
		return false, fmt.Errorf("the log is %q", out)
	}))
	return value
}

// checkVF asserts that the address is a VF of the PF.
func (n *node_) checkVF(addr, pf string) {
	n.t.Helper()
	if got := n.run("basename $(readlink /sys/bus/pci/devices/" + addr + "/physfn)"); got != pf {
		n.t.Errorf("%s is a VF of %q, want %s", addr, got, pf)
	}
}

// checkInfo asserts the _INFO variable of one device.
func (n *node_) checkInfo(pod, addr string) {
	n.t.Helper()
	var info map[string]map[string]map[string]string
	n.must(json.Unmarshal([]byte(n.env(pod, env+"_INFO")), &info))
	if info[addr]["generic"]["deviceID"] != addr {
		n.t.Errorf("%s_INFO = %v, want generic.deviceID %s", env, info, addr)
	}
}

// daemon is the extension's process, as Talos has it.
func (n *node_) daemon() lab.ServiceState {
	n.t.Helper()
	s, err := n.Service(ext).State(n.ctx())
	n.must(err)
	return s
}

func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
