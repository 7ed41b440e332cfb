package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// igb refuses link state, 802.1ad and a minimum rate. Each is a problem of its
// group that names attribute, driver and choice; the rest of the group is
// configured, and `optional` makes it a notice.
func TestRefusedAttributes(t *testing.T) {
	n := node(t)
	const spec = `apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 2
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0"
        trust: true
        linkState: enable
        vlan: {id: 100, protocol: 802.1ad}
        rate: {min: 10, max: 100}
      - indexes: "1"
        trust: true
        vlan: {id: 200, qos: 2}
`
	keys := []string{"linkState", "vlan", "rate"}
	n.document(spec)
	s := n.status("the attributes refused", func(s status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == "failed" && len(s.PFs[0].Problems) == len(keys) && len(s.PFs[0].Steps) == 0
	})
	for _, key := range keys {
		i := slices.IndexFunc(s.PFs[0].Problems, func(p problem) bool { return strings.HasPrefix(p.Msg, key+":") })
		if i < 0 {
			t.Errorf("no problem is about %s: %+v", key, s.PFs[0].Problems)
			continue
		}
		p := s.PFs[0].Problems[i]
		if !strings.Contains(p.Msg, "igb") || !strings.Contains(p.Hint, "remove "+key) || !strings.Contains(p.Hint, "optional") || p.Pos.Line != 8 {
			t.Errorf("%s: problem %+v, want the driver, the choice and line 8", key, p)
		}
	}
	// What the table of drivers says of igb is what the kernel does.
	for _, args := range []string{"state enable", "vlan 100 proto 802.1ad", "min_tx_rate 10"} {
		if out, err := n.Exec(n.ctx(), "ip link set ens1 vf 0 "+args); err == nil {
			t.Errorf("igb takes %q: %s", args, out)
		}
	}
	rest := func() {
		t.Helper()
		n.must(n.WaitFor(n.ctx(), "wait for the rest of the groups", func(context.Context) (bool, error) {
			vfs := n.discover(pfA)
			ok := len(vfs) == 2 && vfs[0].Admin != nil && vfs[0].Admin.Trust && vfs[1].Admin != nil && vfs[1].Admin.Trust && vfs[1].Admin.VLAN == 200
			return ok, fmt.Errorf("the VFs are %+v", vfs)
		}))
	}
	rest()

	n.document(strings.Replace(spec, "        trust: true\n        linkState", "        optional: [linkState, vlan, rate]\n        trust: true\n        linkState", 1))
	s = n.status("the attributes left out", func(s status) bool { return len(s.PFs) == 1 && s.PFs[0].State == "ready" })
	if len(s.PFs[0].Problems) != 0 || len(s.PFs[0].Notices) != len(keys) {
		t.Errorf("with optional: problems %+v, notices %+v, want %d notices", s.PFs[0].Problems, s.PFs[0].Notices, len(keys))
	}
	rest()
	n.allocatable(2)
}
