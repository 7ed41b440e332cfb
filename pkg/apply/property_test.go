package apply_test

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// TestConverges: from any starting state, under any faults and kills that end at
// some time, with any pods that end at some time, the machine becomes what the
// config says, no held VF is touched, and then nothing more is written.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := machine()
		a := newApplier(k, apply.Options{})
		// A starting state that somebody made by hand.
		for _, pf := range []string{pf0, pf1} {
			if rapid.Bool().Draw(t, "autoprobe off") {
				mustWrite(t, k, "bus/pci/devices/"+pf+"/sriov_drivers_autoprobe", "0")
			}
			if n := rapid.IntRange(0, 7).Draw(t, "had"); n > 0 {
				mustWrite(t, k, numVFs(pf), fmt.Sprint(n))
			}
		}
		var held []string
		for _, pf := range k.Snapshot().PFs {
			for _, vf := range pf.VFs {
				if rapid.IntRange(0, 4).Draw(t, "held") == 0 {
					k.Hold(vf.Address, "p")
					held = append(held, vf.Address)
				}
			}
		}
		want := map[string]int{}
		for _, pf := range []string{pf0, pf1} {
			want[pf] = rapid.IntRange(0, 7).Draw(t, "want")
		}
		cfg := config(want)

		faults := rapid.SliceOfN(rapid.SampledFrom([]modelkernel.Fault{
			{}, {}, {Errno: unix.EIO}, {Errno: unix.EBUSY}, {Errno: unix.EIO, After: true}, {Errno: unix.EAGAIN}, {Errno: unix.ENODEV},
		}), 0, 6).Draw(t, "faults")
		next := make(chan modelkernel.Fault, len(faults))
		for _, f := range faults {
			next <- f
		}
		k.Faults(func(string, string) modelkernel.Fault {
			select {
			case f := <-next:
				return f
			default:
				return modelkernel.Fault{}
			}
		})
		for range len(faults) + 1 {
			a.Run(t.Context(), compute(k, cfg, held...))
			if len(held) > 0 && rapid.Bool().Draw(t, "a pod ends") {
				k.Release(held[0])
				held = held[1:]
			}
		}
		for _, h := range held {
			if !slices.ContainsFunc(k.Snapshot().PFs, hasVF(h)) {
				t.Fatalf("held VF %s is gone", h)
			}
			k.Release(h)
		}
		k.Faults(nil) // faults end at some time
		for range 2 {
			a.Run(t.Context(), compute(k, cfg))
		}
		for pf, n := range want {
			if got := k.Snapshot().PF(pf).NumVFs; got != n {
				t.Fatalf("%s has %d VFs, want %d; writes %q", pf, got, n, k.Writes())
			}
		}
		if v := k.Violations(); len(v) > 0 {
			t.Fatal(v)
		}
		before := len(k.Writes())
		if p := compute(k, cfg); !p.Done() {
			t.Fatalf("not done: %+v", p)
		}
		a.Run(t.Context(), compute(k, cfg))
		if w := k.Writes()[before:]; len(w) > 0 {
			t.Fatalf("the second run wrote %q", w)
		}
	})
}

func mustWrite(t *rapid.T, k *modelkernel.Kernel, name, value string) {
	if err := k.Write(name, value); err != nil {
		t.Fatal(err)
	}
}

func hasVF(addr string) func(inventory.PF) bool {
	return func(pf inventory.PF) bool {
		return slices.ContainsFunc(pf.VFs, func(vf inventory.VF) bool { return vf.Address == addr })
	}
}
