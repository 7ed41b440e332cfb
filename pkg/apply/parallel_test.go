package apply_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
)

// TestAsLongAsTheSlowestPF: PFs do not wait for each other. The kernel takes 1,
// 2, 3 and 4 s to make the VFs of four PFs, and all is done after 4.
func TestAsLongAsTheSlowestPF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pfs := []string{pf0, pf1, mlx, ice}
		n := newNode(doc(pfEntry(pf0, 4), pfEntry(pf1, 4), pfEntry(mlx, 4), pfEntry(ice, 4)))
		n.k.Faults(func(name, _ string) modelkernel.Fault {
			i := slices.IndexFunc(pfs, func(pf string) bool { return strings.HasSuffix(name, pf+"/sriov_numvfs") })
			if i < 0 {
				return modelkernel.Fault{}
			}
			done := make(chan struct{})
			time.AfterFunc(time.Duration(i+1)*time.Second, func() { close(done) })
			return modelkernel.Fault{Until: done}
		})
		start := time.Now()
		if err := n.a.Run(t.Context(), n.plan()).Err(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("4 PFs took %v, the slowest takes 4 s", took)
		}
		for _, pf := range pfs {
			if got := n.k.Snapshot().PF(pf).NumVFs; got != 4 {
				t.Errorf("%s has %d VFs", pf, got)
			}
		}
	})
}
