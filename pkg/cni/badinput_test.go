package cni

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dispatch runs a command through the CNI library, as the program does. The
// library reads the process' environment and standard input.
func dispatch(t *testing.T, r *rig, env map[string]string, stdin string) (code uint, out string) {
	t.Helper()
	for _, k := range []string{"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS", "CNI_NETNS_OVERRIDE"} {
		t.Setenv(k, env[k])
	}
	path := filepath.Join(t.TempDir(), "stdin")
	must(t, os.WriteFile(path, []byte(stdin), 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	saved := os.Stdin
	os.Stdin = f
	defer func() { os.Stdin = saved }()
	open := func(*skel.CmdArgs) (*Plugin, func() error, error) { return r.Plugin, func() error { return nil }, nil }
	e := fault.WithHint(skel.PluginMainFuncsWithError(Funcs(t.Context(), open, io.Discard), version.All, ""))
	if e == nil {
		return 0, "no error"
	}
	return e.Code, fmt.Sprintf("code %d\n  %s\n  hint: %s", e.Code, e.Msg, e.Details)
}

type bad struct {
	name, stdin string
	env         map[string]string
	prepare     func(*rig)
}

const noDeviceID = `{"cniVersion":"1.1.0","name":"net","type":"sriov"}`

// podArgs is the environment that a runtime gives for a pod.
func podArgs(uid string) map[string]string {
	return map[string]string{"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=" + uid}
}

func kubelet(r *rig) { r.Kubelet = filepath.Join("testdata", "kubelet_internal_checkpoint") }

// attached is a rig in which the pod has the VF.
func attached(r *rig) {
	if _, err := r.Add(context.Background(), cmd("c1", "/ns/a", conf(0, ""))); err != nil {
		panic(err)
	}
}

func infiniBandVF(r *rig) { r.m.vfLink(0).Type = nl.TypeInfiniBand }

func badInputs() []bad {
	cases := []bad{
		{name: "no JSON", stdin: `deviceID: 0000:21:10.0`},
		{name: "empty stdin", stdin: ``},
		{name: "a JSON list", stdin: `[]`},
		{name: "cut off", stdin: `{"name":"net","type":"sriov",`},
		{name: "no name", stdin: `{"cniVersion":"1.1.0","type":"sriov"}`},
		{name: "bad name", stdin: `{"cniVersion":"1.1.0","name":"a b","type":"sriov"}`},
		{name: "unknown version", stdin: `{"cniVersion":"9.9.9","name":"net"}`},
		{name: "no deviceID", stdin: `{"cniVersion":"1.1.0","name":"net","type":"sriov"}`},
		{name: "deviceID null", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":null}`},
		{name: "deviceID is a name", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":"enp1s0f0"}`},
		{name: "deviceID leads out", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":"../../x"}`},
		{name: "deviceID is a PF", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":"0000:21:00.0"}`},
		{name: "deviceID is no VF", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":"0000:00:1f.0"}`},
		{name: "deviceID is gone", stdin: `{"cniVersion":"1.1.0","name":"net","deviceID":"0000:21:11.0"}`},
		{name: "no result without addresses", stdin: `{"cniVersion":"0.2.0","name":"net","deviceID":"0000:21:10.0"}`},
		{name: "netns is gone", stdin: conf(0, ""), env: map[string]string{"CNI_NETNS": "/ns/none"}},
		{name: "netns is the host's", stdin: conf(0, ""), env: map[string]string{"CNI_NETNS": "/proc/self/ns/net"}},
		{name: "no netns", stdin: conf(0, ""), env: map[string]string{"CNI_NETNS": ""}},
		{name: "no container", stdin: conf(0, ""), env: map[string]string{"CNI_CONTAINERID": ""}},
		{name: "container leads out", stdin: conf(0, ""), env: map[string]string{"CNI_CONTAINERID": "../x"}},
		{name: "interface name too long", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "abcdefghijklmnop"}},
		{name: "interface name taken", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "eth0"}},
		{name: "interface name all", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "all"}},
		{name: "interface name default", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "default"}},
		{name: "interface name bonding_masters", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "bonding_masters"}},
		{name: "interface name with %d", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "a%d"}},
		{name: "interface name with ESC", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "net\x1b[31m"}},
		{name: "interface name with U+202E", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "net\u202e1"}},
		{name: "interface name not UTF-8", stdin: conf(0, ""), env: map[string]string{"CNI_IFNAME": "net\xff1"}},
		{name: "prevResult of a wrong type", stdin: conf(0, `"prevResult":"none"`)},
		{name: "prevResult is a list", stdin: conf(0, `"prevResult":[]`)},
		{name: "prevResult with wrong interfaces", stdin: conf(0, `"prevResult":{"cniVersion":"1.1.0","interfaces":"eth0"}`)},
		{name: "prevResult with a null address", stdin: conf(0, `"prevResult":{"cniVersion":"1.1.0","ips":[null]}`)},
		{name: "prevResult with a null interface in a CHECK", stdin: conf(0, `"prevResult":{"cniVersion":"1.1.0","interfaces":[null]}`),
			env: map[string]string{"CNI_COMMAND": "CHECK"}, prepare: attached},
		{name: "unknown command", stdin: conf(0, ""), env: map[string]string{"CNI_COMMAND": "UPDATE"}},
		{name: "unknown CNI_ARGS", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "VLAN=5"}},
		{name: "CNI_ARGS without value", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "MAC"}},
		{name: "CNI_ARGS without key and value", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "="}},
		{name: "CNI_ARGS without key", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "IgnoreUnknown=1;=x"}},
		{name: "CNI_ARGS bad MAC", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "IgnoreUnknown=1;MAC=nope"}},
		{name: "CNI_ARGS bad IgnoreUnknown", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "IgnoreUnknown=yes"}},
		{name: "no driver", stdin: conf(0, ""), prepare: func(r *rig) { r.m.driver[0] = ""; r.m.vfLink(0).ParentDev = "" }},
		{name: "in a foreign namespace", stdin: conf(0, ""), prepare: func(r *rig) { r.m.vfLink(0).ns = "/ns/b" }},
		{name: "PF moved away", stdin: conf(0, ""), prepare: func(r *rig) { r.m.links[0].ns = "/ns/b" }},
		{name: "rdma without device", stdin: conf(0, `"rdma":true`), prepare: func(r *rig) { delete(r.m.rdma, "mlx5_0") }},
		{name: "another pod has it", stdin: conf(0, ""), prepare: func(r *rig) {
			if err := r.store().Allocate(vfAddr(0), "/ns/b"); err != nil {
				panic(err)
			}
		}},
		{name: "no deviceID, pod without devices", stdin: noDeviceID, env: podArgs("uid-none"), prepare: kubelet},
		{name: "no deviceID, pod with a device", stdin: noDeviceID, env: podArgs("uid-one"), prepare: kubelet},
		{name: "no deviceID, pod with two resources", stdin: noDeviceID, env: podArgs("uid-two"), prepare: kubelet},
		{name: "no deviceID, kubelet unknown", stdin: noDeviceID, env: podArgs("uid-one"), prepare: func(r *rig) { r.Kubelet = "/nowhere" }},
		{name: "CNI_ARGS GUID", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "IgnoreUnknown=1;GUID=02:00:00:00:00:00:00:01"}},
		{name: "InfiniBand with mac", stdin: conf(0, `"mac":"02:00:00:00:00:01"`), prepare: infiniBandVF},
		{name: "InfiniBand with CNI_ARGS MAC", stdin: conf(0, ""), env: map[string]string{"CNI_ARGS": "MAC=02:00:00:00:00:01"}, prepare: infiniBandVF},
		{name: "InfiniBand with vlan", stdin: conf(0, `"vlan":5`), prepare: infiniBandVF},
		{name: "InfiniBand with spoofchk", stdin: conf(0, `"spoofchk":"on"`), prepare: infiniBandVF},
		{name: "InfiniBand with trust", stdin: conf(0, `"trust":"on"`), prepare: infiniBandVF},
		{name: "InfiniBand with rate", stdin: conf(0, `"max_tx_rate":5`), prepare: infiniBandVF},
		{name: "STATUS too old", stdin: `{"cniVersion":"1.0.0","name":"net"}`, env: map[string]string{"CNI_COMMAND": "STATUS"}},
		{name: "STATUS without IPAM plugin", stdin: `{"cniVersion":"1.1.0","name":"net","ipam":{"type":"x"}}`, env: map[string]string{"CNI_COMMAND": "STATUS"},
			prepare: func(r *rig) { r.ipam.status = errInjected }},
		{name: "CHECK of nothing", stdin: conf(0, ""), env: map[string]string{"CNI_COMMAND": "CHECK"}},
		{name: "CHECK too old", stdin: `{"cniVersion":"0.3.1","name":"net"}`, env: map[string]string{"CNI_COMMAND": "CHECK"}},
		{name: "GC too old", stdin: `{"cniVersion":"1.0.0","name":"net"}`, env: map[string]string{"CNI_COMMAND": "GC"}},
		{name: "IPAM gives nothing", stdin: conf(0, `"ipam":{"type":"x"}`), prepare: func(r *rig) { r.ipam.empty = true }},
		{name: "IPAM fails", stdin: conf(0, `"ipam":{"type":"x"}`), prepare: func(r *rig) {
			r.m.fail = func(call string) error {
				if call == "ipam-add" {
					return errInjected
				}
				return nil
			}
		}},
	}
	for _, more := range []string{
		`"vlan":4095`, `"vlan":-1`, `"vlan":"100"`, `"vlan":1.5`, `"vlanQoS":3`, `"vlanQoS":0`, `"vlan":5,"vlanQoS":8`, `"vlan":5,"vlanQoS":-1`, `"vlan":0,"vlanQoS":1`,
		`"vlanProto":"802.1ad"`, `"vlan":5,"vlanProto":"802.1x"`, `"vlan":0,"vlanProto":"802.1ad"`,
		`"spoofchk":"yes"`, `"spoofchk":"ON"`, `"spoofchk":true`, `"trust":"true"`, `"trust":1`, `"link_state":"up"`, `"link_state":"Auto"`,
		`"min_tx_rate":-1`, `"max_tx_rate":-5`, `"min_tx_rate":200,"max_tx_rate":100`, `"max_tx_rate":"1G"`,
		`"mac":"zz"`, `"mac":"01:00:5e:00:00:01"`, `"mac":"00:00:00:00:00:00"`, `"mac":"00:11:22:33:44:55:66:77"`, `"runtimeConfig":{"mac":"x"}`, `"runtimeConfig":[]`,
		`"trunk":[{"id":5}]`, `"vlanTrunk":[{"minID":5,"maxID":9}]`, `"vlan_trunk":"5-9"`, `"runtimeConfig":{"infinibandGUID":"02:00:00:00:00:00:00:01"}`,
		`"mtu":10`, `"mtu":70000`, `"mtu":"9000"`, `"rdma":"true"`, `"ipam":"host-local"`, `"ipam":{"type":"../sh"}`, `"logLevel":3`,
	} {
		cases = append(cases, bad{name: more, stdin: conf(0, more)})
	}
	return cases
}

// Whatever comes in, the answer is the error object with a code and a hint, and
// nothing changes.
func TestBadInput(t *testing.T) {
	var got strings.Builder
	cases := badInputs()
	if len(cases) < 40 {
		t.Errorf("only %d cases", len(cases))
	}
	var names []string
	for _, c := range cases {
		if slices.Contains(names, c.name) {
			t.Errorf("two cases %s", c.name)
		}
		names = append(names, c.name)
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 2)
			if c.prepare != nil {
				c.prepare(r)
			}
			before, files := r.m.state(), r.files(t)
			env := map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/ns/a", "CNI_IFNAME": "net1", "CNI_PATH": "/opt/cni/bin"}
			for k, v := range c.env {
				env[k] = v
			}
			code, out := dispatch(t, r, env, c.stdin)
			if code == 0 {
				t.Error("accepted")
			}
			if diff := cmp.Diff(before, r.m.state()) + cmp.Diff(files, r.files(t)); diff != "" || r.ipam.held != 0 {
				t.Errorf("something changed (-before +after), or an address is still allotted:\n%s", diff)
			}
			fmt.Fprintf(&got, "%s\n  %s\n\n", c.name, out)
		})
	}
	golden := filepath.Join("testdata", "badinput.golden")
	if *update {
		must(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("answers differ (-golden +now); go test -update writes them:\n%s", diff)
	}
}
