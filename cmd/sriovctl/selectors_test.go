package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	configpb "github.com/siderolabs/talos/pkg/machinery/api/resource/config"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/proto"
	configres "github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
)

// rawConfig is a machine config that is sent as it is, whatever documents it has.
type rawConfig struct {
	md   resource.Metadata
	data []byte
}

func newRawConfig(text string) *rawConfig {
	md := resource.NewMetadata(configres.NamespaceName, configres.MachineConfigType, configres.ActiveID, resource.VersionUndefined)
	return &rawConfig{md: md, data: []byte(text)}
}

func (r *rawConfig) Metadata() *resource.Metadata { return &r.md }
func (r *rawConfig) Spec() any                    { return r }
func (r *rawConfig) DeepCopy() resource.Resource  { return &rawConfig{md: r.md, data: r.data} }
func (r *rawConfig) MarshalYAML() (any, error)    { return string(r.data), nil }

func (r *rawConfig) MarshalProto() ([]byte, error) {
	return proto.Marshal(&configpb.MachineConfigSpec{YamlMarshalled: r.data})
}

// run runs a command against nodes and returns all that it prints.
func (r *runner) run(args ...string) (int, string) {
	r.t.Helper()
	var out bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &out, now: time.Now}
	code := a.run(r.t.Context(), args)
	return code, out.String()
}

type runner struct{ t *testing.T }

func serve(t *testing.T, nodes ...*talostest.Node) *runner {
	t.Helper()
	t.Setenv("TALOSCONFIG", talostest.Start(t, 0, nodes...).Talosconfig(t, role.Admin, time.Hour))
	return &runner{t}
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

const (
	cx7Document = "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {names: [enp1s0f0np0]}\n    numVFs: 4\n    resourceName: nvidia.com/x\n"
	wireDoc     = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/sriov/config.yaml\n    content: |\n"
)

// patchOf is a patch with the config, and with what else the test gives.
func patchOf(document string, others ...string) string {
	b := wireDoc
	for line := range strings.Lines(document) {
		b += "      " + line
	}
	return strings.Join(append(others, b), "---\n")
}

// TestNodesOwnSelectors: what the node's machine config selects of the VFs is
// refused or warned of by every command that has to do with a node, and apply
// changes nothing then.
func TestNodesOwnSelectors(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		refuse bool
		say    string // "" for nothing
	}{
		"address on every physical link": {"machine:\n  network:\n    interfaces:\n      - deviceSelector: {physical: true}\n        addresses: [10.5.0.3/24]\n", true, "machine.network.interfaces[0].deviceSelector (physical: true) selects the 4 VFs of enp1s0f0np0 too: Talos gives each of them the node's address 10.5.0.3/24"},
		"DHCP by driver":                 {"machine:\n  network:\n    interfaces:\n      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n", true, "DHCP"},
		"bond by driver":                 {"machine:\n  network:\n    interfaces:\n      - interface: bond0\n        bond: {mode: 802.3ad, deviceSelectors: [{driver: mlx5_core}]}\n", true, "port of the node's bond"},
		"bond by the card's addresses":   {"machine:\n  network:\n    interfaces:\n      - interface: bond0\n        bond: {mode: 802.3ad, deviceSelectors: [{hardwareAddr: 'b8:3f:d2:*'}]}\n", false, ""},
		"alias, beside newer documents":  {"machine: {}\n---\napiVersion: v1alpha1\nkind: QuantumLinkConfig\nname: x\n---\napiVersion: v1alpha1\nkind: LinkAliasConfig\nname: net0\nselector:\n  match: link.driver == 'mlx5_core'\n", true, "LinkAliasConfig net0: selector.match"},
		"a newer key":                    {"machine:\n  network:\n    interfaces:\n      - deviceSelector: {quality: high}\n        dhcp: true\n", false, "may select"},
		"not readable":                   {"machine: {}\n...\nkind: B\n", false, "it is not known whether the node's own selectors select the VFs too"},
	} {
		t.Run(name, func(t *testing.T) {
			n := fixtureNode(t, "cx7", "connectx7", "")
			n.Add(t, newRawConfig(c.config))
			applied := false
			n.Applied = func([]byte) { applied = true }
			r := serve(t, n)
			bare, patch := file(t, cx7Document), file(t, patchOf(cx7Document))
			for _, args := range [][]string{
				{"generate", "patch", "-n", "cx7", "--pf", "enp1s0f0np0", "--vfs", "4", "--resource", "nvidia.com/x"},
				{"plan", bare, "-n", "cx7"}, {"plan", patch, "-n", "cx7"},
			} {
				code, out := r.run(args...)
				if (code != exitOK) != c.refuse {
					t.Errorf("%v: exit code %d:\n%s", args, code, out)
				}
				if !strings.Contains(out, c.say) || c.say != "" && !strings.Contains(out, "hint: ") {
					t.Errorf("%v: no %q with a hint in:\n%s", args, c.say, out)
				}
				if c.say == "" && (strings.Contains(out, "select") && args[0] == "plan" || strings.Contains(out, "note:")) {
					t.Errorf("%v: says something:\n%s", args, out)
				}
			}
			if !c.refuse {
				return
			}
			if code, out := r.run("apply", patch, "-n", "cx7", "--yes"); code == exitOK || applied || !strings.Contains(out, "nothing was changed") {
				t.Errorf("apply: exit code %d, applied: %v:\n%s", code, applied, out)
			}
		})
	}
}

// TestConvertNotesSelectors: convert warns of the same.
func TestConvertNotesSelectors(t *testing.T) {
	n := fixtureNode(t, "cx7", "connectx7", "")
	n.Add(t, newRawConfig("machine:\n  network:\n    interfaces:\n      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n"))
	policy := file(t, "kind: SriovNetworkNodePolicy\nmetadata: {name: all}\nspec: {resourceName: all, numVfs: 4, nicSelector: {vendor: \"15b3\"}}\n")
	code, out := serve(t, n).run("convert", policy, "-n", "cx7", "--resource-prefix", "nvidia.com")
	if code != exitOK || !strings.Contains(out, "note: cx7: machine.network.interfaces[0].deviceSelector") || !strings.Contains(out, "pciID: 15B3:101E") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestIgnoreHitsTheNode: a file that makes Talos ignore a link which is no VF of a
// PF of the node is refused, and no command writes such a file.
func TestIgnoreHitsTheNode(t *testing.T) {
	n := fixtureNode(t, "cx7", "connectx7", "")
	// The node's own card is a VF of its host.
	link := network.NewLinkStatus(network.NamespaceName, "ens16")
	s := link.TypedSpec()
	s.Index, s.Type, s.BusPath, s.PCIID, s.Driver = 77, nethelpers.LinkEther, "0000:00:10.0", "15B3:101E", "mlx5_core"
	n.Add(t, link)
	n.Add(t, newRawConfig("machine: {}\n"))
	applied := false
	n.Applied = func([]byte) { applied = true }
	r := serve(t, n)

	ignore := func(selector string) string {
		return "machine:\n  network:\n    interfaces:\n      - deviceSelector: {" + selector + "}\n        ignore: true\n"
	}
	for selector, refused := range map[string]bool{
		"pciID: '15B3:101E'": true, "driver: 'mlx5*'": true, "pciID: '15B3:1021'": true, "busPath: '0000:00:10.0'": true,
		"busPath: '0000:01:00.2'": false, "pciID: '8086:1889'": false,
	} {
		patch := file(t, patchOf(cx7Document, ignore(selector)))
		code, out := r.run("apply", patch, "-n", "cx7", "--dry-run")
		if strings.Contains(out, "Talos would take its addresses away") != refused || refused && code != exitError {
			t.Errorf("%s: exit code %d:\n%s", selector, code, out)
		}
	}
	if applied {
		t.Error("applied")
	}
	code, out := r.run("generate", "patch", "-n", "cx7", "--pf", "enp1s0f0np0", "--vfs", "4", "--resource", "nvidia.com/x")
	if code != exitOK || strings.Contains(out, "ignore: true\n---") || !strings.Contains(out, "ens16 of cx7 has this id and is no VF") {
		t.Errorf("generate: exit code %d:\n%s", code, out)
	}
	if _, out := r.run("plan", file(t, cx7Document), "-n", "cx7"); !strings.Contains(out, "ens16 of cx7 has this id") {
		t.Errorf("plan of a bare document:\n%s", out)
	}
}

// TestMultipathUplink: a default route with several next hops makes uplinks of
// their links, and of every PF that is up when the links are not known.
func TestMultipathUplink(t *testing.T) {
	for name, c := range map[string]struct {
		route  string
		uplink string // "" for none
	}{
		"next hops of 1.14":        {"family: inet4\ndst: \"\"\ntable: main\ntype: unicast\nprotocol: bgp\nnextHops:\n  - {gateway: \"fe80::1\", outLinkName: enp1s0f0np0, weight: 1}\n  - {gateway: \"fe80::2\", outLinkName: enp9s9, weight: 1}\n", "carries the IPv4 default route"},
		"no links":                 {"family: inet6\ndst: \"\"\ntable: main\ntype: unicast\nprotocol: bgp\n", "may carry the IPv6 default route"},
		"a newer type, no links":   {"family: inet4\ndst: \"\"\ntype: anycastish\n", "may carry the IPv4 default route"},
		"links that nobody has":    {"family: inet4\ndst: 0.0.0.0/0\ntype: unicast\nnextHops: [{outLinkName: gone}]\n", "may carry the IPv4 default route"},
		"unreachable":              {"family: inet4\ndst: \"\"\ntype: unreachable\n", ""},
		"not a default route":      {"family: inet4\ndst: 10.0.0.0/8\ntype: unicast\n", ""},
		"another link's, known":    {"family: inet4\ndst: \"\"\ntype: unicast\nnextHops: [{outLinkName: lo9}]\n", ""},
		"another link's, by index": {"family: inet4\ndst: \"\"\ntype: unicast\noutLinkIndex: 99\noutLinkName: lo9\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := fixtureNode(t, "cx7", "connectx7", "")
			n.Add(t, newRawConfig("machine: {}\n"))
			other := network.NewLinkStatus(network.NamespaceName, "lo9")
			other.TypedSpec().Index, other.TypedSpec().Type = 99, nethelpers.LinkEther
			n.Add(t, other, newRawRoute(c.route))
			r := serve(t, n)
			patch := []string{"generate", "patch", "-n", "cx7", "--pf", "enp1s0f0np0", "--vfs", "4", "--resource", "nvidia.com/x"}
			for _, args := range [][]string{{"discover", "-n", "cx7"}, patch, {"plan", file(t, cx7Document), "-n", "cx7"}} {
				code, out := r.run(args...)
				if c.uplink == "" {
					if code != exitOK || strings.Contains(out, "carry the") || strings.Contains(out, "uplink") {
						t.Errorf("%v: exit code %d:\n%s", args, code, out)
					}
					continue
				}
				if !strings.Contains(out, c.uplink) || (code == exitOK) != (args[0] == "discover") {
					t.Errorf("%v: exit code %d:\n%s", args, code, out)
				}
			}
			if code, out := r.run(append(patch, "--allow-uplink")...); code != exitOK || (c.uplink != "") != strings.Contains(out, "allowUplink: true") {
				t.Errorf("--allow-uplink: exit code %d:\n%s", code, out)
			}
		})
	}
}

// rawRoute is a RouteStatus as a newer Talos sends it: with keys that ours does
// not know.
type rawRoute struct {
	md   resource.Metadata
	text string
}

func newRawRoute(text string) *rawRoute {
	return &rawRoute{md: resource.NewMetadata(network.NamespaceName, network.RouteStatusType, "inet4//0", resource.VersionUndefined), text: text}
}

func (r *rawRoute) Metadata() *resource.Metadata  { return &r.md }
func (r *rawRoute) Spec() any                     { return r }
func (r *rawRoute) DeepCopy() resource.Resource   { return &rawRoute{md: r.md, text: r.text} }
func (r *rawRoute) MarshalProto() ([]byte, error) { return nil, nil }

func (r *rawRoute) MarshalYAML() (any, error) {
	var spec any
	err := yaml.Unmarshal([]byte(r.text), &spec)
	return spec, err
}

// TestNamesOnTheTerminal: an interface name with an escape sequence is printed
// harmlessly by every command, with colours of our own beside it.
func TestNamesOnTheTerminal(t *testing.T) {
	const evil = "eth\x1b[2J0"
	archive, err := os.ReadFile("../../pkg/inventory/testdata/connectx7.sysfs")
	if err != nil {
		t.Fatal(err)
	}
	sys := talostest.Sysfs(t, file(t, strings.ReplaceAll(string(archive), "enp1s0f0np0", evil)))
	n := nodeOf(t, "cx7", sys, evil)
	n.Add(t, newRawConfig("machine: {}\n"))
	s := igbStatus()
	s.PFs[0].Name, s.Pools[0].Members[0].Holders[0].Pod = evil, "\x1b]0;x\x07"
	writeStatus(t, n.Files, s)
	r := serve(t, n)
	document := file(t, "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [\"0000:01:00.0\"]}\n    numVFs: 4\n    resourceName: nvidia.com/x\n")
	for _, args := range [][]string{
		{"discover", "-n", "cx7"}, {"plan", document, "-n", "cx7"}, {"status", "-n", "cx7"}, {"status", "-n", "cx7", "-o", "yaml"}, {"discover", "-n", "cx7", "-o", "json"},
		{"generate", "patch", "-n", "cx7", "--pf", "nosuch", "--vfs", "4", "--resource", "nvidia.com/x"},
		{"plan", document, "-n", "\x1b[2J"},
	} {
		_, out := r.run(args...)
		if strings.ContainsAny(out, "\x1b\x07") {
			t.Errorf("%v: %q", args, out)
		}
		if !strings.Contains(out, "[2J") {
			t.Errorf("%v: the name is not there: %q", args, out)
		}
	}
	x := newTerminal(t, "", n)
	x.run(t.Context(), []string{"status", "-n", "cx7"})
	if out := x.out.String(); strings.Contains(out, "\x1b[2J") || !strings.Contains(out, "\x1b[3") || strings.Contains(out, x.mark) {
		t.Errorf("on a terminal: %q", out)
	}
}
