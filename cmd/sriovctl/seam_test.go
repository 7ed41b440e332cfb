package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/consttest"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const seamPF, seamPool = "0000:21:00.0", "intel.com/igb"

// seamConfig asks for VFs; more are lines of the entry, and lines of the config
// after a "---".
func seamConfig(vfs int, more string) string {
	entry, rest, _ := strings.Cut(more, "---")
	return fmt.Sprintf("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [%q]}\n    numVFs: %d\n    resourceName: %s\n%s%s",
		seamPF, vfs, seamPool, entry, rest)
}

const fast = "---\nhealth: {holdDown: 20ms}\n"

// seam is a node with a daemon, and a workstation.
type seam struct {
	*talostest.Rig
	t       *testing.T
	node    string
	kubelet *talostest.PodResources
	// evidence and causes are those that were seen on the workstation.
	evidence, causes map[string]bool
}

// pods is what the kubelet answers: the pods that have devices.
func (s *seam) pods(devices map[string]string) {
	k := use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Held: map[string][]use.Holder{}}
	for id, pod := range devices {
		k.Held[id] = []use.Holder{{Device: id, Namespace: "default", Pod: pod, Container: "main", Evidence: use.EvidencePodResources}}
	}
	s.kubelet.Set(k)
}

// read is the output of sriovctl.
func (s *seam) read(args ...string) string {
	var out bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &out, now: time.Now}
	a.run(s.t.Context(), append(args, "-n", s.node))
	return out.String()
}

// port is the PF's interface, for writes that are not the daemon's.
func (s *seam) port() nl.LinkRef {
	s.t.Helper()
	links, err := s.Kernel.Links(s.t.Context())
	i := slices.IndexFunc(links, func(l nl.Link) bool { return l.Name == "enp33s0" })
	if err != nil || i < 0 {
		s.t.Fatal(links, err)
	}
	return nl.LinkRef{Index: links[i].Index, Name: "somebody's"}
}

// device is a condition on a device of the pool.
func device(id string, ok func(*status.Device) bool) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return len(s.Pools) == 1 && slices.ContainsFunc(s.Pools[0].Members, func(d status.Device) bool { return d.ID == id && ok(&d) })
	}
}

// registered is the condition that the kubelet can allocate from the pool.
func registered(s *status.Status) bool { return len(s.Pools) == 1 && s.Pools[0].Registered }

func unhealthyFor(id string, c pool.Cause) func(*status.Status) bool {
	return device(id, func(d *status.Device) bool { return !d.Healthy && d.Reason.Cause == string(c) })
}

func heldBy(id string, e use.EvidenceKind) func(*status.Status) bool {
	return device(id, func(d *status.Device) bool {
		return slices.ContainsFunc(d.Holders, func(h status.Holder) bool { return h.Evidence == e })
	})
}

// check awaits the conditions on the node, and then that sriovctl's status, as text,
// has the lines and not the others; it notes what sriovctl's JSON has.
func (s *seam) check(what string, want, not []string, conditions ...func(*status.Status) bool) {
	s.t.Helper()
	s.Await(what, conditions...)
	s.expect(what, s.read("status", "--devices"), want, append(not, "pod pod"))
	var nodes []struct{ Status *status.Status }
	if err := json.Unmarshal([]byte(s.read("status", "-o", "json")), &nodes); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range nodes[0].Status.Pools {
		for _, d := range p.Members {
			if !d.Healthy {
				s.causes[d.Reason.Cause] = true
			}
			for _, h := range d.Holders {
				s.evidence[string(h.Evidence)] = true
			}
		}
	}
}

func (s *seam) expect(what, text string, want, not []string) {
	s.t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			s.t.Errorf("%s: no %q in:\n%s", what, w, text)
		}
	}
	for _, w := range not {
		if strings.Contains(text, w) {
			s.t.Errorf("%s: %q in:\n%s", what, w, text)
		}
	}
}

// plan is sriovctl's plan for more VFs than there are.
func (s *seam) plan(args ...string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "more.yaml")
	if err := os.WriteFile(file, []byte(seamConfig(6, "")), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return s.read(append([]string{"plan", file}, args...)...)
}

const vf0, vf1, vf2 = "0000:21:10.0", "0000:21:10.2", "0000:21:10.4"

// seamCases are what a daemon has to say, by what happens to its machine.
var seamCases = map[string]func(s *seam){
	"pods": func(s *seam) {
		s.pods(map[string]string{vf0: "demo"})
		s.Await("offered", s.Config(seamConfig(2, "")), talostest.Offered(2))
		s.check("a pod", []string{vf0 + " held by pod default/demo\n", vf1 + " free\n"}, nil, heldBy(vf0, use.EvidencePodResources))
		s.expect("plan", s.plan(), []string{"! waits for pod default/demo\n"}, []string{"pod pod", vf1})
		s.expect("forced plan", s.plan("--force", seamPF), []string{"! forced over pod default/demo\n"}, []string{"waits for pod"})
		s.check("a change waits", []string{
			"waiting", "enp33s0: /sys/bus/pci/devices/0000:21:00.0/sriov_numvfs waits for pod default/demo\n", "a change of the PF is waiting for this VF",
		}, nil, s.Config(seamConfig(4, "")), unhealthyFor(vf1, pool.CauseWaiting))
		// By force it does not wait, and the VFs are new ones.
		s.pods(nil)
		s.check("forced", []string{"ready", "4 of 7"}, []string{"waits for"}, s.Config(seamConfig(4, "    force: now\n")), talostest.Offered(4))
	},
	"an init container": func(s *seam) {
		const uid = "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f"
		demo := use.Pod{Namespace: "default", Name: "demo"}
		s.kubelet.Set(use.Kubelet{
			Answered: true, Since: time.Now().Add(-time.Hour), Pods: map[use.Pod]bool{demo: true},
			Checkpoint: use.Checkpoint{
				Entries: []use.Entry{{PodUID: uid, Container: "init", Resource: seamPool, Devices: []string{vf0}}},
				Names:   map[string]use.Pod{uid: demo},
			},
		})
		s.Await("offered", s.Config(seamConfig(2, "")), talostest.Offered(2))
		s.check("it is not listed", []string{vf0 + " held by pod default/demo\n", vf1 + " free\n"}, nil, heldBy(vf0, use.EvidenceCheckpoint))
		s.expect("plan", s.plan(), []string{"! waits for pod default/demo\n"}, []string{vf1})
	},
	"a pool that was renamed": func(s *seam) {
		s.kubelet.Set(use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Held: map[string][]use.Holder{
			vf0: {{Device: vf0, Namespace: "default", Pod: "demo", Resource: "example.com/before", Evidence: use.EvidencePodResources}},
		}})
		s.check("held under the old name", []string{vf0 + " held by pod default/demo, unhealthy: pod default/demo has it as example.com/before\n", vf1 + " free\n"}, nil,
			s.Config(seamConfig(2, "")), unhealthyFor(vf0, pool.CauseHeldElsewhere))
	},
	"a silent kubelet": func(s *seam) {
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(2, "")), talostest.Offered(2))
		s.kubelet.Set(use.Kubelet{Err: "connection refused"})
		s.check("unknown", []string{vf1 + " not known to be free, counts as in use: the kubelet to say who holds what (connection refused)\n"}, []string{vf1 + " free"},
			s.Config(seamConfig(2, "# another\n")), heldBy(vf1, use.EvidenceNone))
		s.expect("plan", s.plan(), []string{"! waits for the kubelet to say", "connection refused"}, nil)
	},
	"an allocation": func(s *seam) {
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(2, "")), talostest.Offered(2), registered)
		_, err := s.Registry.Client(seamPool).Allocate(s.t.Context(), &v1beta1.AllocateRequest{
			ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{vf1}}},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.check("allocated", []string{vf1 + " held by the pod that " + vf1 + " was allocated to at "}, nil, heldBy(vf1, use.EvidenceAllocation))
	},
	"namespaces and the host": func(s *seam) {
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(3, "")), talostest.Offered(3))
		s.Kernel.Hold(vf0, "nobody")
		s.Kernel.AddLink("bond0", "bond", "")
		s.Kernel.SetDefaultRoute("bond0")
		s.Kernel.SetMaster("enp33s0v1", "bond0")
		s.check("both", []string{
			vf0 + " held by a network namespace that VF 0", vf0, "its interface is not in the host's network namespace",
			vf1 + " held by the host, whose network uses VF 1", vf2 + " free\n", "enp33s0: . a VF is not offered", "hint: ",
		}, nil, unhealthyFor(vf0, pool.CauseNoInterface), heldBy(vf0, use.EvidenceKernel), unhealthyFor(vf1, pool.CauseUnusable), heldBy(vf1, use.EvidenceHost))
		s.expect("plan", s.plan(), []string{"! waits for a network namespace", "the host, whose network uses VF 1"}, nil)
	},
	"vfio": func(s *seam) {
		const group = "    virtualFunctions: [{indexes: 0-%d, driver: vfio-pci}]\n"
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(2, fmt.Sprintf(group, 1))), talostest.Offered(2))
		s.check("a step asks", []string{vf0 + " held by an answer whether a process has VF 0", "cannot be asked"}, nil,
			s.Config(seamConfig(3, fmt.Sprintf(group, 2))), heldBy(vf0, use.EvidenceOpen))
		s.check("the step is not wanted any more", []string{"and no pod is known to have it"}, nil,
			s.Config(seamConfig(2, fmt.Sprintf(group, 1))), unhealthyFor(vf0, pool.CauseOpen))
	},
	"the link": func(s *seam) {
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(2, fast)), talostest.Offered(2))
		s.Kernel.Plug(seamPF, false)
		s.check("no link", []string{vf0 + " free, unhealthy: PF enp33s0 has no link\n", "down\n"}, nil, unhealthyFor(vf0, pool.CauseNoLink))
		s.Kernel.Plug(seamPF, true)
		s.Await("offered again", talostest.Offered(2))
		s.FailWrites("netlink/enp33s0/up") // else the daemon brings it up again
		if err := s.Kernel.SetUp(s.t.Context(), s.port(), false); err != nil {
			s.t.Fatal(err)
		}
		s.check("down", []string{vf0 + " free, unhealthy: PF enp33s0 is administratively down\n", "failed"}, nil, unhealthyFor(vf0, pool.CausePFDown),
			func(s *status.Status) bool { return s.PFs[0].State == status.PFFailed })
	},
	"VF settings": func(s *seam) {
		s.pods(nil)
		s.AddICE()
		ice := strings.ReplaceAll(seamConfig(2, "    virtualFunctions: [{indexes: \"0\", linkState: disable}]\n"+fast), seamPF, "0000:17:00.0")
		s.check("disabled", []string{" free, unhealthy: the link state of the VF is set to disable\n"}, nil, s.Config(ice), func(s *status.Status) bool {
			return len(s.Pools) == 1 && len(s.Pools[0].Members) == 2 && s.Pools[0].Members[0].Reason.Cause == string(pool.CauseVFLinkDisabled)
		})
		s.FailWrites("netlink/enp33s0/vf1/vlan")
		s.check("a write fails", []string{
			"failed", vf1 + " free, unhealthy: not configured yet: ", `enp33s0: ! writing "100 0 802.1q" to netlink enp33s0 vf 1 vlan failed: `,
		}, nil, s.Config(seamConfig(2, "    virtualFunctions: [{indexes: 1, vlan: {id: 100}}]\n")), unhealthyFor(vf1, pool.CauseUnfinished),
			func(s *status.Status) bool { return s.PFs[0].State == status.PFFailed })
		s.Config(seamConfig(-1, ""))
		s.check("refused", []string{"was refused", "stays in force", "physicalFunctions[0].numVFs"}, nil,
			func(s *status.Status) bool { return s.Spec.State == status.SpecRefused })
	},
	"PCIe errors": func(s *seam) {
		s.pods(nil)
		s.Await("offered", s.Config(seamConfig(2, "")), talostest.Offered(2))
		s.PCIeErrors(3)
		s.check("errors", []string{vf0 + " free, unhealthy: PCIe errors on 0000:21:00.0: 3 fatal"}, nil, unhealthyFor(vf0, pool.CausePCIeErrors))
	},
}

// TestDaemonToWorkstation is the contract of the status file: what the daemon
// reports of a machine is what a person reads on the workstation, and what the plan
// there goes by. A holder is named once, what the node does not know is not free,
// and every kind of evidence and every cause comes across.
func TestDaemonToWorkstation(t *testing.T) {
	nodes := map[string]*talostest.Node{}
	names := slices.Sorted(maps.Keys(seamCases))
	for i, name := range names {
		n := fixtureNode(t, fmt.Sprintf("igb%d", i), "82576", "")
		n.Services = []*machine.ServiceInfo{{Id: "ext-sriov", State: "Running"}}
		nodes[name] = n
	}
	all := slices.Collect(maps.Values(nodes))
	addMachineConfig(t, all...)
	t.Setenv("TALOSCONFIG", talostest.Start(t, 0, all...).Talosconfig(t, role.Admin, time.Hour))
	evidence, causes := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			n := nodes[name]
			kubelet := &talostest.PodResources{}
			s := &seam{Rig: talostest.Daemon(t, n, kubelet), t: t, node: n.Name, kubelet: kubelet, evidence: evidence, causes: causes}
			seamCases[name](s)
		})
	}
	for _, e := range consttest.Of(t, "../../pkg/use/types.go", "EvidenceKind") {
		if !evidence[e] {
			t.Errorf("no case has a holder with the evidence %q", e)
		}
	}
	for _, c := range consttest.Of(t, "../../pkg/pool/reason.go", "Cause") {
		if !causes[c] {
			t.Errorf("no case has a device with the cause %q", c)
		}
	}
}
