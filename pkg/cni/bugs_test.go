package cni

import (
	"slices"
	"syscall"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// What is known to go wrong in sriov-cni, and must not here; docs/cni.md has the
// rows.

// sriov-cni leaves VLAN and MAC behind when a later attribute is refused.
func TestBug1PartlyAppliedAttributesAreUndone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	r.m.fail = func(call string) error {
		if call == "vf-trust" {
			return syscall.EOPNOTSUPP
		}
		return nil
	}
	_, err := r.Add(t.Context(), cmd("c1", "/ns/a", conf(0, `"vlan":100,"mac":"02:00:00:00:00:aa","trust":"on"`)))
	if e := fault.AsCNI(err); e.Code != fault.CodeSetVF || e.Details == "" {
		t.Errorf("error is %+v", e)
	}
	r.untouched(t, before)
}

// A VF that a program drives has no interface to give back.
func TestBug2UserspaceDel(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_vfio_pci", "xe-vfio-pci"} {
		r := newRig(t, 1)
		r.m.links = slices.DeleteFunc(r.m.links, func(l *mlink) bool { return l.ParentDev == vfAddr(0) })
		r.m.driver[0] = driver
		before := r.m.state()
		args := cmd("c1", "/ns/a", conf(0, `"vlan":5,"mac":"02:00:00:00:00:aa"`))
		_, err := r.Add(t.Context(), args)
		must(t, err)
		must(t, r.Del(t.Context(), args))
		r.untouched(t, before)
	}
}

// A DEL that fails must be able to succeed later. Each call fails once.
func TestBug3DelKeepsWhatARetryNeeds(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		r := newRig(t, 1)
		before := r.m.state()
		args := cmd("c1", "/ns/a", conf(0, everything))
		_, err := r.Add(t.Context(), args)
		must(t, err)
		count, hit := 0, ""
		r.m.fail = func(call string) error {
			if count++; count == n+1 {
				hit = call
				return syscall.EIO
			}
			return nil
		}
		err = r.Del(t.Context(), args)
		if hit == "" {
			must(t, err)
			return
		}
		if err == nil {
			t.Fatalf("DEL succeeded although %q failed", hit)
		}
		must(t, r.Del(t.Context(), args))
		r.untouched(t, before)
	}
}

// No way out of DEL leaves an allocation behind.
func TestBug4AllocationIsRemovedOnEveryWay(t *testing.T) {
	t.Parallel()
	for _, netns := range []string{"/ns/a", ""} {
		for _, dead := range []bool{false, true} {
			r := newRig(t, 1)
			before := r.m.state()
			c := conf(0, `"vlan":9`)
			_, err := r.Add(t.Context(), cmd("c1", "/ns/a", c))
			must(t, err)
			if dead {
				r.m.kill("/ns/a")
			}
			must(t, r.Del(t.Context(), cmd("c1", netns, c)))
			r.untouched(t, before)
		}
	}
}

// The host's name, left on the interface as an altname, is in the way.
func TestBug5AltNameInTheWayBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, ""))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	r.m.vfLink(0).AltNames = []string{"vf0"}
	must(t, r.Del(t.Context(), args))
	if l := r.m.vfLink(0); l.Name != "vf0" || l.ns != "" || len(l.AltNames) != 0 {
		t.Errorf("VF is %+v", l)
	}
}

// udev renames the interface that came back, after we have read its name and before we
// ask about it.
func TestBug5RenamedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, ""))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	r.m.kill("/ns/a")
	times := 0
	r.m.look = func(ref nl.LinkRef) {
		if l := r.m.vfLink(0); l.ns == "" && ref.Name == l.Name && times == 0 {
			times++
			l.Name = "ens1v0"
		}
	}
	must(t, r.Del(t.Context(), args))
	if l := r.m.vfLink(0); l.Name != "vf0" || l.ns != "" || times != 1 {
		t.Errorf("VF is %+v, %d questions met udev", l, times)
	}
}

// udev gives the interface that came back the host's name as an altname, between our
// look and our rename, or renames it.
func TestBug5AltNameComesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, udev := range map[string]func(*mlink){
		"altname": func(l *mlink) { l.AltNames = []string{"vf0"} },
		"renamed": func(l *mlink) { l.Name, l.AltNames = "ens1v0", []string{"vf0"} },
	} {
		for _, dead := range []bool{false, true} {
			r := newRig(t, 1)
			args := cmd("c1", "/ns/a", conf(0, ""))
			_, err := r.Add(t.Context(), args)
			must(t, err)
			if dead {
				r.m.kill("/ns/a")
			} else {
				// The move names it already: somebody else's name is on it by then.
				r.m.vfLink(0).ns, r.m.vfLink(0).Name = "", "net1"
			}
			times := 0
			r.m.fail = func(call string) error {
				if l := r.m.vfLink(0); call == "rename" && l.ns == "" && times == 0 {
					times++
					udev(l)
				}
				return nil
			}
			must(t, r.Del(t.Context(), args))
			if l := r.m.vfLink(0); l.Name != "vf0" || l.ns != "" || len(l.AltNames) != 0 || times != 1 {
				t.Errorf("%s, namespace gone %t: VF is %+v, %d renames met udev", name, dead, l, times)
			}
		}
	}
}

// Another interface took the host's name.
func TestBug6NameTakenOnHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, ""))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	r.m.add("vf0", "", "02:00:00:00:02:00")
	must(t, r.Del(t.Context(), args))
	if l := r.m.vfLink(0); l.Name != "vf21100" || l.ns != "" {
		t.Errorf("VF is %+v", l)
	}
	if files := r.files(t); len(files) != 0 {
		t.Errorf("files left: %v", files)
	}
}

// The namespace died; the VF comes back as net1 with the pod's VLAN. The next pod
// must not take that for the original, and the late DEL must not touch the next
// pod's VF.
func TestBug7NamespaceDiedBeforeDel(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	first, second := cmd("c1", "/ns/a", conf(0, `"vlan":100`)), cmd("c2", "/ns/b", conf(0, `"vlan":200`))
	_, err := r.Add(t.Context(), first)
	must(t, err)
	r.m.kill("/ns/a")
	_, err = r.Add(t.Context(), second)
	must(t, err)
	must(t, r.Del(t.Context(), first))
	if v := r.m.vfs[0]; v.VLAN != 200 || r.m.vfLink(0).ns != "/ns/b" {
		t.Errorf("the late DEL touched the second pod's VF: %+v", v)
	}
	must(t, r.Del(t.Context(), second))
	r.untouched(t, before)
}
