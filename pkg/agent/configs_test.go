package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// Several PFs whose configs change one after the other while a pod has a VF of the
// first: each change is a run on each other PF, whose gates look for holders while the
// loop offers what is there. SRIOV_DOCUMENTS is for how long (default: 20 changes),
// SRIOV_STRESS_PFS how many PFs (default 8).
func TestConfigsWhileAPodHasAVF(t *testing.T) {
	t.Parallel()
	long, changes := time.Duration(0), 20
	if v := os.Getenv("SRIOV_DOCUMENTS"); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatalf("SRIOV_DOCUMENTS: %v", err)
		}
	}
	pfs := 8
	if v := os.Getenv("SRIOV_STRESS_PFS"); v != "" {
		var err error
		if pfs, err = strconv.Atoi(v); err != nil {
			t.Fatalf("SRIOV_STRESS_PFS: %v", err)
		}
	}
	s := newStress(t, pfs, 1)
	s.kubelet.Start()
	doc := func(count int) string {
		return s.doc(func(pf int) int {
			if pf == 0 {
				return 4
			}
			return count
		})
	}
	inForce := func(count int) {
		s.status(fmt.Sprintf("%d VFs on each PF", count), func(st *status.Status) bool {
			if len(st.PFs) != pfs {
				return false
			}
			for i := range st.PFs {
				want := count
				if st.PFs[i].Address == s.pfs[0] {
					want = 4
				}
				if st.PFs[i].State != status.PFReady || st.PFs[i].Actual.NumVFs != want {
					return false
				}
			}
			return true
		})
	}
	s.configure(doc(2))
	s.start()
	inForce(2)
	vf, err := s.kernel.ReadLink("bus/pci/devices/" + s.pfs[0] + "/virtfn0")
	if err != nil {
		t.Fatal(err)
	}
	s.hold(filepath.Base(vf), "web")
	start, n := time.Now(), 0
	for ; n < changes || time.Since(start) < long; n++ {
		count := 3 - n%2
		s.configure(doc(count))
		inForce(count)
	}
	t.Logf("%d PFs: %d configs, %d writes", pfs, n, len(s.kernel.Writes()))
}
