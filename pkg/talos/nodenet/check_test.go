package nodenet_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/talos/nodenet"
)

// A node with a ConnectX-7 of two ports, of which the first will have two VFs,
// and an I350.
func present() []nodenet.Link {
	return []nodenet.Link{
		{Name: "eno1", Driver: "igb", BusPath: "0000:05:00.0", PCIID: "8086:1521", MAC: "3c:ec:ef:00:00:01", PermMAC: "3c:ec:ef:00:00:01"},
		{Name: "enp1s0f0np0", Driver: "mlx5_core", BusPath: "0000:01:00.0", PCIID: "15B3:1021", MAC: "b8:3f:d2:00:00:01", PermMAC: "b8:3f:d2:00:00:01"},
		{Name: "enp1s0f1np1", Driver: "mlx5_core", BusPath: "0000:01:00.1", PCIID: "15B3:1021", MAC: "b8:3f:d2:00:00:02", PermMAC: "b8:3f:d2:00:00:02"},
	}
}

func vf(bus string) nodenet.Link {
	return nodenet.Link{ToBe: true, PF: "enp1s0f0np0", Driver: "mlx5_core", PCIID: "15B3:101E", BusPath: bus}
}

func vfs() []nodenet.Link {
	a, b := vf("0000:01:00.2"), vf("0000:01:00.3")
	a.Name, b.Name = "enp1s0f0v0", "enp1s0f0v1"
	return []nodenet.Link{a, b}
}

func documents(t *testing.T, text string) []machineconfig.Document {
	t.Helper()
	docs, err := machineconfig.Documents([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

const (
	refuse = "refuse"
	warn   = "warn"
)

func interfaces(entries string) string {
	return "machine:\n  network:\n    interfaces:\n" + entries
}

// TestCheck: what becomes of each place of a machine config that selects VFs, by
// the rules of Talos' controllers.
func TestCheck(t *testing.T) {
	alias := func(name, match string) string {
		return "apiVersion: v1alpha1\nkind: LinkAliasConfig\nname: " + name + "\nselector:\n  match: '" + match + "'\n"
	}
	for name, c := range map[string]struct {
		config string
		links  []nodenet.Link // vfs() if nil
		want   string         // "" for nothing
		words  []string       // of message and hint
	}{
		"static address by physical": {
			config: interfaces("      - deviceSelector: {physical: true}\n        addresses: [10.5.0.3/24]\n"), want: refuse,
			words: []string{"machine.network.interfaces[0].deviceSelector", "the 2 VFs of enp1s0f0np0", "10.5.0.3/24", `permanentAddr: "b8:3f:d2:00:00:01" (enp1s0f0np0)`},
		},
		"cidr":        {config: interfaces("      - deviceSelector: {physical: true}\n        cidr: 10.5.0.3/24\n"), want: refuse},
		"virtual":     {config: interfaces("      - deviceSelector: {physical: false}\n        addresses: [10.5.0.3/24]\n")},
		"not boolean": {config: interfaces("      - deviceSelector: {physical: maybe}\n        dhcp: true\n"), want: warn},
		"DHCP by driver": {
			config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n        mtu: 9000\n"), want: refuse,
			words: []string{"DHCP", "pciID: 15B3:1021"},
		},
		"DHCP after ignore":           {config: interfaces("      - deviceSelector: {pciID: '15B3:101E'}\n        ignore: true\n      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n")},
		"DHCP before ignore":          {config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n      - deviceSelector: {pciID: '15B3:101E'}\n        ignore: true\n"), want: refuse},
		"address after ignore":        {config: interfaces("      - deviceSelector: {pciID: '15B3:101E'}\n        ignore: true\n      - deviceSelector: {driver: mlx5_core}\n        dhcp: true\n        addresses: [10.0.0.1/8]\n"), want: refuse},
		"DHCP of another card":        {config: interfaces("      - deviceSelector: {driver: igb}\n        dhcp: true\n")},
		"by the PF's id":              {config: interfaces("      - deviceSelector: {pciID: '15B3:1021'}\n        dhcp: true\n")},
		"by the VFs' id":              {config: interfaces("      - deviceSelector: {pciID: '15B3:10*'}\n        dhcp: true\n"), want: refuse},
		"by id in lower case":         {config: interfaces("      - deviceSelector: {pciID: '15b3:101e'}\n        dhcp: true\n")},
		"MTU alone":                   {config: interfaces("      - deviceSelector: {driver: 'mlx5*'}\n        mtu: 9000\n"), want: warn, words: []string{"brings each of them up"}},
		"VLANs":                       {config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        vlans: [{vlanId: 25, addresses: [192.0.2.11/24]}]\n"), want: refuse, words: []string{"VLANs"}},
		"virtual address":             {config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        vip: {ip: 10.5.0.2}\n"), want: refuse, words: []string{"virtual address"}},
		"a key of a newer Talos":      {config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        teleport: true\n"), want: refuse, words: []string{"teleport"}},
		"a selector key of a newer":   {config: interfaces("      - deviceSelector: {driver: igb, firmware: x}\n        dhcp: true\n"), want: warn, words: []string{"may select"}},
		"empty selector":              {config: interfaces("      - deviceSelector: {}\n        dhcp: true\n")},
		"empty values":                {config: interfaces("      - deviceSelector: {driver: '', pciID: '15B3:1021'}\n        dhcp: true\n")},
		"ignore":                      {config: interfaces("      - deviceSelector: {driver: mlx5_core}\n        ignore: true\n        addresses: [10.0.0.1/8]\n")},
		"permanent address":           {config: interfaces("      - deviceSelector: {permanentAddr: 'b8:3f:d2:00:00:01'}\n        dhcp: true\n")},
		"local permanent address":     {config: interfaces("      - deviceSelector: {permanentAddr: '02:*'}\n        dhcp: true\n"), want: warn},
		"any address":                 {config: interfaces("      - deviceSelector: {hardwareAddr: '*'}\n        dhcp: true\n"), want: refuse},
		"address with a glob":         {config: interfaces("      - deviceSelector: {hardwareAddr: '*:01'}\n        dhcp: true\n"), want: warn},
		"anchor":                      {config: "x: &s {driver: mlx5_core}\n" + interfaces("      - deviceSelector: *s\n        dhcp: true\n"), want: refuse},
		"bond by driver":              {config: interfaces("      - interface: bond0\n        bond:\n          deviceSelectors:\n            - driver: mlx5_core\n        addresses: [10.5.0.3/24]\n"), want: refuse, words: []string{"bond.deviceSelectors[0]", "port of the node's bond", "b8:3f:d2:00:00:02"}},
		"bond by bus path":            {config: interfaces("      - interface: bond0\n        bond: {deviceSelectors: [{busPath: '0000:01:00.*'}]}\n"), want: refuse},
		"bond by bus path, not known": {config: interfaces("      - interface: bond0\n        bond: {deviceSelectors: [{busPath: '0000:01:00.*'}]}\n"), links: []nodenet.Link{vf("")}, want: warn},
		"bond by the PF's bus path":   {config: interfaces("      - interface: bond0\n        bond: {deviceSelectors: [{busPath: '0000:01:00.0'}]}\n")},
		"bond by the card's prefix":   {config: interfaces("      - interface: bond0\n        bond: {deviceSelectors: [{hardwareAddr: 'b8:3f:d2:*'}]}\n")},
		"bond, second selector":       {config: interfaces("      - interface: bond0\n        bond: {deviceSelectors: [{pciID: '15B3:1021'}, {driver: mlx5_core, physical: true}]}\n"), want: refuse, words: []string{"deviceSelectors[1]"}},
		"alias by driver":             {config: alias("net0", `link.driver == "mlx5_core"`), want: refuse, words: []string{"LinkAliasConfig net0: selector.match", `mac(link.permanent_addr) == "b8:3f:d2:00:00:01"`}},
		"aliases by driver":           {config: alias("net%d", `glob("mlx5*", link.driver)`), want: refuse},
		"alias by any link":           {config: alias("net%d", `true`), want: refuse},
		"alias by the PF's id":        {config: alias("net0", `link.pciid == "15B3:1021" && link.driver == "mlx5_core"`)},
		"alias by permanent address":  {config: alias("net0", `mac(link.permanent_addr) == "b8:3f:d2:00:00:01"`)},
		"alias by prefix":             {config: alias("net0", `glob("b8:3f:d2:*", mac(link.permanent_addr))`)},
		"alias by a list":             {config: alias("net0", `mac(link.hardware_addr) in ["b8:3f:d2:00:00:01", "b8:3f:d2:00:00:02"]`)},
		"alias by a local address":    {config: alias("net0", `mac(link.hardware_addr) in ["b8:3f:d2:00:00:01", "02:00:00:00:00:02"]`), want: warn},
		"alias by what it is not":     {config: alias("net0", `mac(link.permanent_addr) != "b8:3f:d2:00:00:01"`), want: refuse},
		"alias not by prefix":         {config: alias("net0", `!mac(link.permanent_addr).startsWith("b8")`), want: warn},
		"alias by bus path":           {config: alias("net0", `link.bus_path.startsWith("0000:01:")`), want: refuse},
		"alias by speed":              {config: alias("net0", `link.speed_megabits >= 100000`), want: warn},
		"alias by speed of others":    {config: alias("net0", `link.speed_megabits >= 100000 && link.driver == "ice"`)},
		"alias by a newer function":   {config: alias("net0", `subnet(link) == "10.0.0.0/8"`), want: warn},
		"alias that is no boolean":    {config: alias("net0", `link.driver`), want: warn},
		"alias without expression":    {config: "kind: LinkAliasConfig\nname: net0\nselector: {driver: mlx5_core}\n", want: refuse},
		"InfiniBand is not physical":  {config: alias("net0", `link.driver == "mlx5_core"`), links: []nodenet.Link{{ToBe: true, PF: "ib0", Driver: "mlx5_core", InfiniBand: true}}},
		"driver not known":            {config: alias("net0", `link.driver == "e1000"`), links: []nodenet.Link{{ToBe: true, PF: "eth0"}}, want: warn},
		"a newer document":            {config: "kind: BondConfig\nname: bond0\nlinkSelector:\n  match: link.driver == 'mlx5_core'\n", want: refuse},
		"a newer selector":            {config: "kind: DHCPv4Config\nname: x\nselector: {driver: 'mlx5*'}\n", want: refuse},
		"a disk":                      {config: "kind: UserVolumeConfig\nname: x\nprovisioning: {diskSelector: {match: disk.transport == 'nvme'}}\n"},
		"names of others":             {config: "kind: BondConfig\nname: bond0\nlinks: [eno1, enp1s0f0np0]\n"},
		"names of VFs":                {config: "kind: BondConfig\nname: bond0\nlinks: [eno1, enp1s0f0v1]\n", want: warn, words: []string{"enp1s0f0v1"}},
		"DHCP on a VF by name":        {config: "kind: DHCPv4Config\nname: enp1s0f0v0\n", want: warn},
		"an old entry by name":        {config: interfaces("      - interface: enp1s0f0v0\n        dhcp: true\n"), want: warn},
		"an old entry that ignores":   {config: interfaces("      - interface: enp1s0f0v0\n        ignore: true\n")},
		"name of another thing":       {config: "kind: KubeSpanThing\nname: enp1s0f0v0\n"},
		"representors": {
			config: interfaces("      - deviceSelector: {pciID: '15B3:1021'}\n        dhcp: true\n"), want: refuse, words: []string{"representor"},
			links: []nodenet.Link{{ToBe: true, PF: "enp1s0f0np0", PCIID: "15B3:1021", BusPath: "0000:01:00.0", Representor: true}},
		},
		"nothing to be": {config: interfaces("      - deviceSelector: {physical: true}\n        dhcp: true\n"), links: []nodenet.Link{}},
		"odd shapes":    {config: "machine: {network: {interfaces: {a: 1}}}\n---\nkind: LinkAliasConfig\nname: [a]\nselector: [1]\n", want: warn},
	} {
		t.Run(name, func(t *testing.T) {
			links := c.links
			if links == nil {
				links = vfs()
			}
			found := nodenet.Check(documents(t, c.config), links, present())
			got, text := "", ""
			for _, f := range found {
				switch {
				case f.Refuse:
					got = refuse
				case got == "":
					got = warn
				}
				text += f.Msg + "\n" + f.Hint + "\n"
			}
			if got != c.want {
				t.Errorf("got %q, want %q:\n%s", got, c.want, text)
			}
			for _, w := range c.words {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in:\n%s", w, text)
				}
			}
		})
	}
}

func TestIgnored(t *testing.T) {
	config := interfaces(`      - deviceSelector: {driver: iavf}
        ignore: true
      - deviceSelector: {pciID: "8086:1889"}
        dhcp: true
      - interface: eth0
        ignore: true
      - deviceSelector: {pciID: "8086:*", shape: round}
        ignore: true
`)
	links := []nodenet.Link{
		{Name: "ens16", Driver: "iavf", PCIID: "8086:1889"}, {Name: "eno1", Driver: "igb", PCIID: "8086:1521"}, {Name: "br0", Virtual: true},
	}
	var got []string
	for _, f := range nodenet.Ignored(documents(t, config), links[:2]) {
		what, _, _ := strings.Cut(f.Msg, ", which is no VF of a PF of this node: Talos would take its addresses away")
		got = append(got, map[bool]string{false: "warned: ", true: "refused: "}[f.Refuse]+what)
	}
	want := []string{
		"refused: machine.network.interfaces[0].deviceSelector (driver: iavf) with ignore: true selects ens16",
		"warned: machine.network.interfaces[3].deviceSelector (pciID: 8086:*, shape: round) with ignore: true may select ens16",
		"warned: machine.network.interfaces[3].deviceSelector (pciID: 8086:*, shape: round) with ignore: true may select eno1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
