package network_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

const three = `
networks:
  - name: plain
    resourceName: nvidia.com/cx7
    ipam: {type: host-local, ranges: [[{subnet: 10.100.0.0/24}]]}
  - name: all
    namespace: team
    resourceName: nvidia.com/cx7
    vlan: {id: 100, qos: 2, protocol: 802.1ad}
    spoofCheck: true
    trust: false
    rate: {min: 10, max: 1000}
    linkState: enable
    mtu: 9000
    rdma: true
    capabilities: {mac: true, ips: true}
    logLevel: debug
    logFile: /tmp/it's "here".log
    metaPlugins:
      - {type: tuning, sysctl: {net.core.somaxconn: "500"}}
  - {name: ib, type: ib-sriov, resourceName: nvidia.com/ib, linkState: auto}
`

func load(t *testing.T, text string) []network.Network {
	t.Helper()
	n, err := network.Load("networks.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConfig(t *testing.T) {
	want := []string{
		`{"cniVersion":"1.0.0","name":"plain","type":"sriov","ipam":{"ranges":[[{"subnet":"10.100.0.0/24"}]],"type":"host-local"}}`,
		`{"cniVersion":"1.0.0","name":"all","plugins":[{"type":"sriov","vlan":100,"vlanQoS":2,"vlanProto":"802.1ad","spoofchk":"on","trust":"off",` +
			`"min_tx_rate":10,"max_tx_rate":1000,"capabilities":{"ips":true,"mac":true},"link_state":"enable","mtu":9000,"rdma":true,` +
			`"logLevel":"debug","logFile":"/tmp/it's \"here\".log","ipam":{}},{"sysctl":{"net.core.somaxconn":"500"},"type":"tuning"}]}`,
		`{"cniVersion":"1.0.0","name":"ib","type":"ib-sriov","link_state":"auto","ipam":{}}`,
	}
	for i, n := range load(t, three) {
		got, err := n.Config()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(got) {
			t.Errorf("%s: not JSON: %s", n.Name, got)
		}
		if diff := cmp.Diff(want[i], string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", n.Name, diff)
		}
	}
}

func TestPatch(t *testing.T) {
	manifests, err := network.Manifests(load(t, three), "admissionregistration.k8s.io/v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.13", "1.14"} {
		v, err := versions.Of(version)
		if err != nil {
			t.Fatal(err)
		}
		patch := network.Patch(manifests, v)
		golden(t, "patch-"+version+".yaml", patch)
	}
}

func TestLoadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "the file is empty",
		"networks: []":                    "it describes no network",
		"network: []":                     "field network not found",
		"networks: 3":                     "cannot unmarshal",
		"networks: []\n---\nnetworks: []": "more than one document",
		"networks: [{name: A, resourceName: a.b/c}]":                                                   `name "A"`,
		"networks: [{name: a, namespace: 'b c', resourceName: a.b/c}]":                                 `namespace "b c"`,
		"networks: [{name: a}]":                                                                        `resourceName ""`,
		"networks: [{name: a, resourceName: c}]":                                                       `resourceName "c": want prefix/name`,
		"networks: [{name: a, resourceName: a.b/c, type: macvlan}]":                                    `type "macvlan"`,
		"networks: [{name: a, resourceName: a.b/c, vlan: {id: 4095}}]":                                 "vlan.id: 4095 is out of range: 0 to 4094 (4095 is reserved by IEEE 802.1Q)",
		"networks: [{name: a, resourceName: a.b/c, vlan: {id: 1, qos: 8}}]":                            "vlan.qos: 8 is out of range: 0 to 7",
		"networks: [{name: a, resourceName: a.b/c, vlan: {qos: 2}}]":                                   "vlan.qos: a priority has no effect without a VLAN, and VLAN 0 is none",
		"networks: [{name: a, resourceName: a.b/c, vlan: {id: 1, protocol: 802.1x}}]":                  "vlan.protocol",
		"networks: [{name: a, resourceName: a.b/c, vlan: {protocol: 802.1ad}}]":                        "vlan.protocol: 802.1ad has no effect without a VLAN, and VLAN 0 is none",
		"networks: [{name: a, resourceName: a.b/c, linkState: up}]":                                    `linkState: want auto, enable or disable, found "up"`,
		"networks: [{name: a, resourceName: a.b/c, logLevel: trace}]":                                  `logLevel "trace"`,
		"networks: [{name: a, resourceName: a.b/c, rate: {min: 5, max: 1}}]":                           "rate.min: the guaranteed rate 5 is above the limit 1 (lower the one or raise the other)",
		"networks: [{name: a, resourceName: a.b/c, rate: {min: -5}}]":                                  "rate.min: -5 is out of range: 0 to 2147483647 Mbit/s (0 means no limit)",
		"networks: [{name: a, resourceName: a.b/c, mtu: 10}]":                                          "mtu: 10 is out of range: 68 to 65535 bytes",
		"networks: [{name: a, resourceName: a.b/c, type: host-device, trust: true}]":                   "trust: the plugin host-device has no such setting",
		"networks: [{name: a, resourceName: a.b/c, metaPlugins: [{}]}]":                                "metaPlugins[0]: it has no type",
		"networks: [{name: a, resourceName: a.b/c}, {name: a, namespace: default, resourceName: x/y}]": "a second network default/a",
	} {
		_, err := network.Load("f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(three))
	f.Fuzz(func(t *testing.T, data []byte) {
		networks, err := network.Load("f", data)
		if err != nil {
			return
		}
		for i := range networks {
			config, err := networks[i].Config()
			if err != nil {
				continue // a YAML value that JSON does not have
			}
			if !json.Valid(config) {
				t.Errorf("not JSON: %s", config)
			}
			manifest, err := networks[i].Manifest()
			if err != nil || !bytes.Contains(manifest, []byte("NetworkAttachmentDefinition")) {
				t.Errorf("manifest: %v\n%s", err, manifest)
			}
		}
	})
}
