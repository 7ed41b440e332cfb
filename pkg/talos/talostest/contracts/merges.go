package contracts

import "testing"

// merges are patches with more of the machine config than the ready ones: each is
// applied after the one before, and each config is what Talos makes of it. They
// name only what all versions have, and delete nothing that is not there, for which
// Talos before 1.14 ends in a panic.
func merges(t *testing.T, have []Node) {
	for j := range have {
		n := &have[j]
		config := n.Config
		for _, patch := range []string{
			"machine:\n  network:\n    interfaces:\n      - interface: eth0\n        addresses: [10.1.0.2/24]\n        vlans: [{vlanId: 5, dhcp: true}]\n",
			"machine:\n  network:\n    interfaces:\n      - interface: eth0\n        mtu: 9000\n        addresses: [10.1.0.3/24]\n        vlans: [{vlanId: 5, mtu: 1400}, {vlanId: 6}]\n      - deviceSelector: {driver: mlx5_core, busPath: 0000:01*}\n        dhcp: true\n",
			"machine:\n  network:\n    interfaces:\n      - deviceSelector: {busPath: '0000:01*', driver: mlx5_core}\n        mtu: 1500\n      - deviceSelector: {driver: mlx5_core}\n        ignore: true\n",
			"machine:\n  network:\n    interfaces:\n      - interface: eth0\n        $patch: delete\n",
			"machine: {sysctls: {vm.nr_hugepages: '1024', net.core.rmem_max: '1'}, kernel: {modules: [{name: vfio_pci, parameters: [a=1]}]}}\n",
			"machine:\n  sysctls:\n    vm.nr_hugepages: $2048\n  files:\n    - path: /var/x\n      permissions: 0o644\n      op: create\n      content: |\n        # not a comment\n        ---x\n",
			"machine: {sysctls: {$patch: delete}}\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - {mountPath: /etc/a, content: a}\nenvironment: [A=1]\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - {mountPath: /etc/b, content: b}\n  - {mountPath: /etc/a, content: 'c: d'}\nenvironment: [B=1]\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: other\nenvironment: [C=1]\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: other\nenvironment: {$patch: delete}\nconfigFiles: [{mountPath: /etc/a, content: a}]\n",
			"apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: other\n$patch: delete\n",
		} {
			config = apply(t, n, config, []byte(patch))
		}
	}
}
