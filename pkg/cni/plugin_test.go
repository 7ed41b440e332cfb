package cni

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

const everything = `"vlan":100,"vlanQoS":3,"mac":"02:00:00:00:00:AA","spoofchk":"off","trust":"on","link_state":"enable",
	"min_tx_rate":10,"max_tx_rate":100,"mtu":9000,"rdma":true,"ipam":{"type":"host-local"}`

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) files(t tb) (out []string) {
	t.Helper()
	must(t, filepath.WalkDir(r.Dir, func(path string, d os.DirEntry, err error) error {
		if !d.IsDir() && !strings.HasSuffix(path, ".lock") {
			rel, _ := filepath.Rel(r.Dir, path)
			out = append(out, rel)
		}
		return err
	}))
	return out
}

func (r *rig) untouched(t tb, before string) {
	t.Helper()
	if diff := cmp.Diff(before, r.m.state()); diff != "" {
		t.Errorf("machine differs (-before +after):\n%s", diff)
	}
	if files := r.files(t); len(files) != 0 {
		t.Errorf("files left: %v", files)
	}
	if r.ipam.held != 0 {
		t.Error("an address is still allotted")
	}
}

func TestAddCheckDel(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.m.vfLink(0).AltNames = []string{"enp33s16", "net1"}
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, everything))
	result, err := r.Add(t.Context(), args)
	must(t, err)
	var b strings.Builder
	must(t, result.PrintTo(&b))
	for _, want := range []string{`"mac": "02:00:00:00:00:aa"`, `"mtu": 9000`, `"10.100.0.2/24"`, `"sandbox": "/ns/a"`, `"pciID": "0000:21:10.0"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("result lacks %s:\n%s", want, b.String())
		}
	}
	l, v := r.m.vfLink(0), r.m.vfs[0]
	if l.ns != "/ns/a" || l.Name != "net1" || !l.Up || r.m.rdma["mlx5_0"] != "/ns/a" || len(l.addrs) != 1 {
		t.Errorf("not in the pod: %+v", l)
	}
	if v.VLAN != 100 || v.QoS != 3 || *v.SpoofCheck || !*v.Trust || v.LinkState != 1 || v.MaxRate != 100 {
		t.Errorf("attributes not set: %+v", v)
	}
	if !slices.Contains(r.m.calls, "route 0.0.0.0/0 via 10.100.0.1") || !slices.Contains(r.m.calls, "send 0806") {
		t.Errorf("no default route or no announcement: %q", r.m.calls)
	}
	if diff := cmp.Diff([]string{"c1-net1", "pci/0000:21:10.0"}, r.files(t)); diff != "" {
		t.Errorf("files: %s", diff)
	}
	must(t, r.Check(t.Context(), args))
	v.VLAN, l.Up = 7, false
	if err := r.Check(t.Context(), args); err == nil || !strings.Contains(err.Error(), "vlan of VF") || !strings.Contains(err.Error(), "net1 is down") {
		t.Errorf("CHECK missed a difference: %v", err)
	}
	r.m.calls = nil
	must(t, r.Del(t.Context(), args))
	r.m.vfLink(0).AltNames = slices.Sorted(slices.Values(r.m.vfLink(0).AltNames))
	r.untouched(t, before)
	if rdma, vlan, move := slices.Index(r.m.calls, "rdma"), slices.Index(r.m.calls, "vf-vlan 0 0 0 33024"), slices.Index(r.m.calls, "move"); rdma < 0 || rdma > vlan || vlan > move {
		t.Errorf("order is not RDMA, PF, interface: %q", r.m.calls)
	}
	must(t, r.Del(t.Context(), args)) // again
}

// Each changing call of an ADD fails in turn; each time everything is as before.
func TestAddRollsBack(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		r := newRig(t, 1)
		before, count, hit := r.m.state(), 0, ""
		r.m.fail = func(call string) error {
			if strings.HasPrefix(call, "send") { // a courtesy
				return nil
			}
			if count++; count == n+1 {
				hit = call
				return syscall.EIO
			}
			return nil
		}
		_, err := r.Add(t.Context(), cmd("c1", "/ns/a", conf(0, everything)))
		if hit == "" {
			must(t, err)
			if n < 10 {
				t.Errorf("only %d calls could fail", n)
			}
			return
		}
		if err == nil {
			t.Fatalf("ADD succeeded although %q failed", hit)
		}
		t.Log(n, hit)
		r.untouched(t, before)
	}
}

// The plugin is killed before each call that changes something;
// the runtime answers with DEL.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	type killed struct{}
	dies := func(run func()) (dead bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(killed); !ok {
					panic(r)
				}
				dead = true
			}
		}()
		run()
		return false
	}
	for _, verb := range []string{"ADD", "DEL"} {
		for n := 1; ; n++ {
			r := newRig(t, 1)
			r.m.sticky = n%2 == 0
			r.m.vfs[0].MAC = r.m.vfLink(0).MAC
			before := r.m.state()
			args := cmd("c1", "/ns/a", conf(0, everything))
			count := 0
			kill := func(string) error {
				if count++; count == n {
					panic(killed{})
				}
				return nil
			}
			if verb == "DEL" {
				_, err := r.Add(t.Context(), args)
				must(t, err)
			}
			r.m.fail = kill
			dead := dies(func() {
				if verb == "ADD" {
					_, err := r.Add(t.Context(), args)
					must(t, err)
				} else {
					must(t, r.Del(t.Context(), args))
				}
			})
			r.m.fail = nil
			must(t, r.Del(t.Context(), args))
			r.untouched(t, before)
			if t.Failed() {
				t.Fatalf("%s killed at call %d", verb, n)
			}
			if !dead {
				if n < 10 {
					t.Errorf("%s has only %d calls", verb, n-1)
				}
				break
			}
		}
	}
}

// The pod changed the MTU; the host's comes back.
func TestMTUChangedInThePod(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.m.vfLink(0).MTU = 3333
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, ""))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	if mtu := r.m.vfLink(0).MTU; mtu != 3333 {
		t.Errorf("MTU in the pod is %d", mtu)
	}
	r.m.vfLink(0).MTU = 4444
	must(t, r.Del(t.Context(), args))
	r.untouched(t, before)
}

// An InfiniBand VF is moved; there is nothing to set and nothing to announce.
func TestInfiniBand(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	l := r.m.vfLink(0)
	l.Type, l.MAC, l.MTU = nl.TypeInfiniBand, slices.Repeat([]byte{0x80, 1}, 10), 2044
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, `"link_state":"enable","rdma":true,"ipam":{"type":"x"}`))
	result, err := r.Add(t.Context(), args)
	must(t, err)
	var b strings.Builder
	must(t, result.PrintTo(&b))
	if !strings.Contains(b.String(), l.MAC.String()) || l.ns != "/ns/a" || r.m.rdma["mlx5_0"] != "/ns/a" {
		t.Errorf("VF is %+v, result:\n%s", l, b.String())
	}
	if slices.ContainsFunc(r.m.calls, func(s string) bool { return strings.HasPrefix(s, "send") }) {
		t.Error("sent an Ethernet frame")
	}
	must(t, r.Check(t.Context(), args))
	must(t, r.Del(t.Context(), args))
	r.untouched(t, before)
}

// The separate rdma plugin, after this one in a list, moves the RDMA device and
// gives it back before this one's DEL: without the key rdma it is not ours.
func TestChainedRDMAPlugin(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, `"vlan":5`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	r.m.rdma["mlx5_0"] = "/ns/a"
	must(t, r.Check(t.Context(), args))
	r.m.rdma["mlx5_0"] = ""
	must(t, r.Del(t.Context(), args))
	r.untouched(t, before)
	if slices.Contains(r.m.calls, "rdma") {
		t.Error("moved an RDMA device that belongs to another plugin")
	}
}

func TestDeviceIDForms(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"0000:21:10.0": "0000:21:10.0", "21:10.0": "0000:21:10.0", "0000:C1:1E.7": "0000:c1:1e.7", "C1:1e.7": "0000:c1:1e.7",
	} {
		c, err := netconf.Parse([]byte(`{"name":"net","deviceID":"` + given + `"}`))
		must(t, err)
		if c.DeviceID != want {
			t.Errorf("%s is taken for %s, want %s", given, c.DeviceID, want)
		}
	}
}

// igb refuses to hear of a link state, even the one that it has; and vlan 0 on a
// VF without VLAN must not undo what the driver allows then.
func TestWritesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.m.fail = func(call string) error {
		if strings.HasPrefix(call, "vf-") {
			return syscall.EOPNOTSUPP
		}
		return nil
	}
	args := cmd("c1", "/ns/a", conf(0, `"vlan":0,"spoofchk":"on","trust":"off","link_state":"auto","min_tx_rate":0,"max_tx_rate":0`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	must(t, r.Del(t.Context(), args))
}

// A driver that reports neither spoof check nor trust gets the safe values back.
func TestUnreportedAttributes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.m.silent = true
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, `"spoofchk":"off","trust":"on"`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	if v := r.m.vfs[0]; *v.SpoofCheck || !*v.Trust {
		t.Errorf("attributes not set: %+v", v)
	}
	must(t, r.Del(t.Context(), args))
	r.untouched(t, before)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	const c = `{"cniVersion":"1.1.0","name":"net","type":"sriov","ipam":{"type":"x"}}`
	r := newRig(t, 1)
	must(t, r.Status(t.Context(), cmd("", "", c)))
	r.ipam.status = errInjected
	if e := fault.AsCNI(r.Status(t.Context(), cmd("", "", c))); e.Code != fault.CodeUnavailable {
		t.Errorf("IPAM plugin is missing: %+v", e)
	}
}

func TestAllocatedAndReboot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, `"vlan":100`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	if _, err := r.Add(t.Context(), cmd("c2", "/ns/b", conf(0, ""))); err == nil || fault.AsCNI(err).Code != fault.CodeInUse {
		t.Errorf("second ADD: %v", err)
	}
	// The machine reboots: new VFs, no pods, old files.
	r.m = newModel(1)
	r.m.kill("/ns/a")
	r.m.vfs[0].VLAN = 42 // the spec's
	r.Sysfs, r.Kernel, r.Boot.ID = r.m, r.m, "boot-2"
	must(t, r.Del(t.Context(), args))
	r.m.vfs[0].VLAN = 0
	r.untouched(t, before)
}

func TestSharedRDMA(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.m.mode = "shared"
	_, err := r.Add(t.Context(), cmd("c1", "/ns/a", conf(0, `"rdma":true`)))
	must(t, err)
	if slices.Contains(r.m.calls, "rdma") {
		t.Error("moved an RDMA device in shared mode")
	}
}

func TestGC(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	for i, c := range []string{"c1", "c2"} {
		_, err := r.Add(t.Context(), cmd(c, []string{"/ns/a", "/ns/b"}[i], conf(i, `"vlan":7`)))
		must(t, err)
	}
	must(t, r.GC(t.Context(), cmd("", "", `{"cniVersion":"1.1.0","name":"net","type":"sriov",
		"cni.dev/valid-attachments":[{"containerID":"c2","ifname":"net1"}]}`)))
	if a, b := r.m.vfLink(0), r.m.vfLink(1); a.ns != "" || a.Name != "vf0" || r.m.vfs[0].VLAN != 0 || b.ns != "/ns/b" {
		t.Errorf("after GC: %+v, %+v", a, b)
	}
	if diff := cmp.Diff([]string{"c2-net1", "pci/0000:21:10.1"}, r.files(t)); diff != "" {
		t.Error(diff)
	}
}
