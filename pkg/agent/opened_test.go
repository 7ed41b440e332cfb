package agent

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// A VF that was found open is asked about until it is closed, but never while a
// pod has it: the pod's program may open it in that instant, and would be
// refused.
func TestOpenedAsksNobodyWhoWasGivenTheVF(t *testing.T) {
	const a, b = "0000:21:10.0", "0000:21:10.2"
	vf := func(index int, addr string) inventory.VF {
		return inventory.VF{Index: index, Function: inventory.Function{Address: addr, Driver: "vfio-pci", IOMMUGroup: index}}
	}
	snap := &inventory.Snapshot{PFs: []inventory.PF{{VFs: []inventory.VF{vf(0, a), vf(1, b)}}}}
	asked := map[string]int{}
	errno := error(unix.EBUSY)
	o := opened{vfio: use.VFIO{Dev: "/dev", OpenFile: func(path string, _ int, _ uint32) (int, error) {
		asked[path]++
		if errno != nil {
			return -1, errno
		}
		return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}}}
	nobody := func(string) bool { return false }

	if o.now(snap, nobody); len(asked) != 0 {
		t.Errorf("asked about %v, and nothing was found open", asked)
	}
	o.probe(snap, []string{a, b})
	if got := o.now(snap, nobody); len(got) != 2 || got[a].State != use.Open || asked["/dev/vfio/0"] != 2 {
		t.Errorf("%v, asked %v; want both open and asked again", got, asked)
	}
	// A pod is given the first one.
	if got := o.now(snap, func(id string) bool { return id == a }); len(got) != 1 || got[b].State != use.Open {
		t.Errorf("%v, want the second one alone", got)
	}
	if asked["/dev/vfio/0"] != 2 || asked["/dev/vfio/1"] != 3 {
		t.Errorf("asked %v; want the pod's VF left alone", asked)
	}
	// Nobody can be asked: what was open counts as open.
	errno = unix.EACCES
	if got := o.now(snap, nobody); got[b].State != use.OpenUnknown || len(got) != 1 {
		t.Errorf("%v, want the second one not known", got)
	}
	errno = nil
	if got := o.now(snap, nobody); len(got) != 0 {
		t.Errorf("%v after the process let go", got)
	}
	before := asked["/dev/vfio/1"]
	if o.now(snap, nobody); asked["/dev/vfio/1"] != before {
		t.Error("asked again about what nobody has")
	}
}
