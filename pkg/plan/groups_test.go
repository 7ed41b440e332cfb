package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func TestGroups(t *testing.T) {
	const a, b, c = "0000:01:00.0", "0000:01:00.1", "0000:41:00.0"
	apart := [][]string{{a}, {b}, {c}}
	pf := func(s *inventory.Snapshot, address string) *inventory.PF { return s.PF(address) }
	below := func(s *inventory.Snapshot, upper string, pfs ...string) {
		for _, p := range pfs {
			pf(s, p).Upper = upper
		}
	}
	for name, tc := range map[string]struct {
		change func(*inventory.Snapshot)
		want   [][]string
	}{
		"ports of one card": {func(*inventory.Snapshot) {}, apart},
		"one switch": {func(s *inventory.Snapshot) {
			pf(s, a).Netdevs[0].PhysSwitchID, pf(s, b).Netdevs[0].PhysSwitchID = "c0ffee", "c0ffee"
		}, [][]string{{a, b}, {c}}},
		"a switch for each": {func(s *inventory.Snapshot) {
			pf(s, a).Netdevs[0].PhysSwitchID, pf(s, b).Netdevs[0].PhysSwitchID = "c0ffee", "decaf"
		}, apart},
		"one bond, legacy": {func(s *inventory.Snapshot) { below(s, "bond0 (bond)", a, b) }, apart},
		"one bond, one in switchdev": {func(s *inventory.Snapshot) {
			below(s, "bond0 (bond)", a, b)
			pf(s, b).EswitchMode = string(spec.EswitchSwitchdev)
		}, [][]string{{a, b}, {c}}},
		"two bonds, switchdev": {func(s *inventory.Snapshot) {
			below(s, "bond0 (bond)", a)
			below(s, "bond1 (bond)", b)
			pf(s, a).EswitchMode, pf(s, b).EswitchMode = string(spec.EswitchSwitchdev), string(spec.EswitchSwitchdev)
		}, apart},
		"one IOMMU group": {func(s *inventory.Snapshot) { pf(s, a).IOMMUGroup, pf(s, c).IOMMUGroup = 0, 0 }, [][]string{{a, c}, {b}}},
		"VFs of two in one IOMMU group": {func(s *inventory.Snapshot) {
			pf(s, b).VFs = []inventory.VF{{Function: inventory.Function{IOMMUGroup: 20}}}
			pf(s, c).VFs = []inventory.VF{{Function: inventory.Function{IOMMUGroup: 20}}}
		}, [][]string{{a}, {b, c}}},
		"vfio without an IOMMU": {func(s *inventory.Snapshot) {
			for _, p := range []string{a, b} {
				pf(s, p).IOMMUGroup, pf(s, p).NoIOMMU = 7, true
			}
		}, apart},
		"one through another": {func(s *inventory.Snapshot) {
			pf(s, a).IOMMUGroup, pf(s, c).IOMMUGroup = 3, 3
			pf(s, c).Netdevs[0].PhysSwitchID, pf(s, b).Netdevs[0].PhysSwitchID = "c0ffee", "c0ffee"
		}, [][]string{{a, b, c}}},
	} {
		s := &inventory.Snapshot{}
		for _, address := range []string{a, b, c} {
			s.PFs = append(s.PFs, inventory.PF{
				Function: inventory.Function{Address: address, Vendor: "15b3", IOMMUGroup: -1, Netdevs: []inventory.Netdev{{Name: "enp" + address}}},
			})
		}
		tc.change(s)
		for range 10 { // whatever the order
			rand.Shuffle(len(s.PFs), func(i, j int) { s.PFs[i], s.PFs[j] = s.PFs[j], s.PFs[i] })
			if d := cmp.Diff(tc.want, plan.Groups(s)); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
				break
			}
		}
	}
	if got := plan.Groups(nil); len(got) > 0 {
		t.Errorf("groups of no machine: %v", got)
	}
}
