package apply_test

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// drawEntry draws what a config may say of one PF.
func drawEntry(t *rapid.T, pf string) spec.PhysicalFunction {
	n := rapid.IntRange(0, 5).Draw(t, "numVFs")
	e := pfEntry(pf, n)
	if rapid.Bool().Draw(t, "has mtu") {
		e.MTU = ptr(rapid.SampledFrom([]int{1500, 2000, 9000}).Draw(t, "mtu"))
	}
	if pf == mlx || pf == ice {
		e.EswitchMode = rapid.SampledFrom([]spec.EswitchMode{"", spec.EswitchLegacy, spec.EswitchSwitchdev}).Draw(t, "eswitchMode")
	}
	for from := 0; from < n; {
		to := rapid.IntRange(from, n-1).Draw(t, "to")
		if rapid.IntRange(0, 3).Draw(t, "grouped") > 0 {
			e.VirtualFunctions = append(e.VirtualFunctions, drawGroup(t, &e, indexes(from, to)))
		}
		from = to + 1
	}
	return e
}

func drawGroup(t *rapid.T, e *spec.PhysicalFunction, at spec.IndexSet) spec.VFGroup {
	g := spec.VFGroup{Indexes: at, Pos: spec.Pos{Line: 10 + at[0], Column: 9}}
	g.Driver = rapid.SampledFrom([]spec.Driver{"", spec.DriverDefault, spec.DriverVFIO, spec.DriverNone}).Draw(t, "driver")
	flag := func(name string) *bool {
		switch rapid.IntRange(0, 2).Draw(t, name) {
		case 0:
			return ptr(false)
		case 1:
			return ptr(true)
		}
		return nil
	}
	legacy := e.EswitchMode != spec.EswitchSwitchdev
	if legacy {
		g.Trust, g.SpoofCheck = flag("trust"), flag("spoofCheck")
		if rapid.Bool().Draw(t, "vlan") {
			g.VLAN = &spec.VLAN{ID: rapid.SampledFrom([]int{0, 5, 4094}).Draw(t, "id")}
			if g.VLAN.ID > 0 {
				g.VLAN.QoS = rapid.IntRange(0, 7).Draw(t, "qos")
				g.VLAN.Protocol = rapid.SampledFrom([]string{"", "802.1ad"}).Draw(t, "protocol")
			}
		}
	}
	g.LinkState = rapid.SampledFrom([]spec.LinkState{"", spec.LinkStateAuto, spec.LinkStateEnable, spec.LinkStateDisable}).Draw(t, "linkState")
	if rapid.Bool().Draw(t, "rate") {
		g.Rate = &spec.Rate{Min: rapid.IntRange(0, 1).Draw(t, "min"), Max: rapid.IntRange(1, 3).Draw(t, "max")}
	}
	g.MACAddresses.Mode = rapid.SampledFrom([]spec.MACMode{"", spec.MACKernel, spec.MACStable}).Draw(t, "macAddresses")
	if g.Driver == "" || g.Driver == spec.DriverDefault {
		if rapid.Bool().Draw(t, "own mtu") {
			g.MTU = ptr(1500)
		}
		if !legacy && e.Match.PCIAddresses[0] == mlx && rapid.Bool().Draw(t, "has vdpa") {
			g.VDPA = rapid.SampledFrom([]spec.VDPAType{spec.VDPAVhost, spec.VDPAVirtio}).Draw(t, "vdpa")
		}
		g.RDMA = e.Match.PCIAddresses[0] == mlx && rapid.Bool().Draw(t, "rdma")
	}
	g.Optional.All = rapid.Bool().Draw(t, "optional")
	return g
}

func drawConfig(t *rapid.T) *spec.Config {
	c := &spec.Config{}
	for _, pf := range []string{pf0, pf1, mlx, ice} {
		if rapid.IntRange(0, 4).Draw(t, "in the config") > 0 {
			c.PhysicalFunctions = append(c.PhysicalFunctions, drawEntry(t, pf))
		}
	}
	return c
}

// meddle is somebody at the machine's keyboard. What the kernel refuses, it
// refuses.
func meddle(t *rapid.T, n *node) {
	s := n.k.Snapshot()
	pf := rapid.SampledFrom(s.PFs).Draw(t, "meddle with")
	ref := nl.LinkRef{Index: pf.Netdevs[0].Index, Name: pf.Netdevs[0].Name}
	held := map[string]bool{}
	for _, h := range n.held {
		held[h] = true
	}
	var vf *inventory.VF
	if len(pf.VFs) > 0 {
		v := rapid.SampledFrom(pf.VFs).Draw(t, "VF")
		vf = &v
	}
	switch what := rapid.IntRange(0, 7).Draw(t, "what"); {
	case what == 0 && vf == nil:
		_ = n.k.Write(numVFs(pf.Address), strconv.Itoa(rapid.IntRange(1, 5).Draw(t, "VFs")))
	case what == 1:
		_ = n.k.Write("bus/pci/devices/"+pf.Address+"/sriov_drivers_autoprobe", rapid.SampledFrom([]string{"0", "1"}).Draw(t, "autoprobe"))
	case what == 2:
		_ = n.k.SetUp(t.Context(), ref, false)
	case vf == nil || held[vf.Address]:
	case what == 3 && vf.Driver != "":
		_ = n.k.Write("bus/pci/drivers/"+vf.Driver+"/unbind", vf.Address)
	case what == 4:
		_ = n.k.Write("bus/pci/devices/"+vf.Address+"/driver_override", rapid.SampledFrom([]string{"vfio-pci", "\n", "none"}).Draw(t, "override"))
		_ = n.k.Write("bus/pci/drivers_probe", vf.Address)
	case what == 5:
		_ = n.k.SetVFVLAN(t.Context(), ref, vf.Index, nl.VLAN{ID: 77})
		_ = n.k.SetVFTrust(t.Context(), ref, vf.Index, true)
	case what == 6:
		_ = n.k.SetVFMAC(t.Context(), ref, vf.Index, net.HardwareAddr{2, 0, 0, 0, 0, 9})
	case what == 7 && len(vf.Netdevs) > 0:
		_ = n.k.SetMTU(t.Context(), nl.LinkRef{Index: vf.Netdevs[0].Index}, 1400)
	}
}

// TestConvergesWhole: random configs follow each other on a machine that
// somebody meddles with, under random faults, kills and pods. When all that
// ends, the machine is what the last config says, nobody who held a VF
// noticed, and nothing more is written.
func TestConvergesWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNode(nil)
		n.k.LoadVDPA("vhost_vdpa")
		n.k.LoadVDPA("virtio_vdpa")
		var mu sync.Mutex
		fault := rapid.SampledFrom([]modelkernel.Fault{
			{}, {Errno: unix.EIO}, {Errno: unix.EBUSY}, {Errno: unix.EIO, After: true}, {Errno: unix.EAGAIN}, {Errno: unix.ENODEV},
		})
		for range rapid.IntRange(1, 3).Draw(t, "documents") {
			n.cfg = drawConfig(t)
			// PFs run in parallel: what happens to each is counted by itself, so
			// that a case is the same when it is run again.
			planned := rapid.SliceOfN(fault, 0, 6).Draw(t, "faults")
			skip := rapid.IntRange(0, 10).Draw(t, "faults after")
			faults := map[string]int{}
			n.k.Faults(func(name, value string) modelkernel.Fault {
				mu.Lock()
				defer mu.Unlock()
				pf := ofPF(name, value)
				if faults[pf]++; faults[pf] > skip && faults[pf]-skip <= len(planned) {
					return planned[faults[pf]-skip-1]
				}
				return modelkernel.Fault{}
			})
			for range rapid.IntRange(1, 4).Draw(t, "runs") {
				kill := rapid.IntRange(0, 40).Draw(t, "kill at")
				passed := map[string]int{}
				opts := n.options()
				opts.Point = func(name string) {
					mu.Lock()
					defer mu.Unlock()
					pf, _, _ := strings.Cut(name, "/")
					if passed[pf]++; kill > 0 && passed[pf] > kill {
						runtime.Goexit()
					}
				}
				n.a = newApplier(n.k, opts)
				n.a.Run(t.Context(), n.plan())
				pods(t, n)
				if rapid.Bool().Draw(t, "somebody meddles") {
					meddle(t, n)
				}
			}
		}
		n.k.Faults(nil)
		for len(n.held) > 0 {
			n.release(n.held[0])
		}
		n.start()
		var p *plan.Plan
		for range 6 {
			if p = n.plan(); !runnable(p) {
				break
			}
			if err := n.a.Run(t.Context(), p).Err(); err != nil {
				t.Fatalf("%v\n%s", err, text(p))
			}
		}
		if runnable(p) {
			t.Fatalf("does not converge: %s", text(p))
		}
		for i := range p.PFs {
			for _, pr := range p.PFs[i].Problems {
				if !pr.Partial {
					t.Fatal(text(p))
				}
			}
			if len(p.PFs[i].Steps) > 0 {
				t.Fatal(text(p))
			}
		}
		if v := n.k.Violations(); len(v) > 0 {
			t.Fatal(v)
		}
		verify(t, n)
		before := len(n.k.Writes())
		n.a.Run(t.Context(), n.plan())
		if w := n.k.Writes()[before:]; len(w) > 0 {
			t.Fatalf("the second run wrote %q", w)
		}
	})
}

// ofPF finds by a write which PF it is about.
func ofPF(name, value string) string {
	for pf, marks := range map[string][]string{
		pf0: {"0000:21:", "enp33s0"}, pf1: {"0000:41:", "enp65s0"}, mlx: {"0000:01:", "enp1s0f0np0"}, ice: {"0000:17:", "ens1f0"},
	} {
		for _, m := range marks {
			if strings.Contains(name+" "+value, m) {
				return pf
			}
		}
	}
	return ""
}

// pods come and go.
func pods(t *rapid.T, n *node) {
	for len(n.held) > 0 && rapid.Bool().Draw(t, "a pod ends") {
		n.release(n.held[0])
	}
	for _, pf := range n.k.Snapshot().PFs {
		for _, vf := range pf.VFs {
			if (len(vf.Netdevs) > 0 || vf.Driver == "vfio-pci") && rapid.IntRange(0, 5).Draw(t, "a pod starts") == 0 {
				n.hold(vf.Address)
			}
		}
	}
}

// verify compares the machine with the config, without the plan's help.
func verify(t *rapid.T, n *node) {
	s := n.k.Snapshot()
	for _, e := range n.cfg.PhysicalFunctions {
		pf := s.PF(e.Match.PCIAddresses[0])
		var wrong []string
		expect := func(what string, got, want any) {
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", what, got, want))
			}
		}
		expect("numVFs", pf.NumVFs, *e.NumVFs)
		if e.MTU != nil {
			expect("mtu", pf.Netdevs[0].MTU, *e.MTU)
		}
		if e.EswitchMode != "" && (pf.Address == mlx || pf.Address == ice) {
			expect("mode", pf.EswitchMode, string(e.EswitchMode))
		}
		if *e.NumVFs > 0 {
			expect("up", pf.Netdevs[0].AdminUp, true)
		}
		hw, _ := net.ParseMAC(pf.Netdevs[0].MAC)
		kernel := map[string]string{"igb": "igbvf", "mlx5_core": "mlx5_core", "ice": "iavf"}[pf.Driver]
		grouped := map[int]*spec.VFGroup{}
		for i := range e.VirtualFunctions {
			for _, v := range e.VirtualFunctions[i].Indexes {
				grouped[v] = &e.VirtualFunctions[i]
			}
		}
		for _, vf := range pf.VFs {
			g := grouped[vf.Index]
			if g == nil {
				g = &spec.VFGroup{}
			}
			at := fmt.Sprintf("VF %d ", vf.Index)
			driver := kernel
			switch g.Driver {
			case spec.DriverVFIO:
				driver = "vfio-pci"
			case spec.DriverNone:
				driver = ""
			}
			expect(at+"driver", vf.Driver, driver)
			if g.Trust != nil {
				expect(at+"trust", vf.Admin.Trust, *g.Trust)
			}
			if g.SpoofCheck != nil {
				expect(at+"spoofCheck", vf.Admin.SpoofCheck, *g.SpoofCheck)
			}
			igb := pf.Driver == "igb"
			if l := g.VLAN; l != nil && (!igb || l.Protocol == "") {
				expect(at+"vlan", vf.Admin.VLAN, l.ID)
				expect(at+"qos", vf.Admin.QoS, l.QoS)
			}
			if g.LinkState != "" && !igb {
				expect(at+"linkState", vf.Admin.LinkState, string(g.LinkState))
			}
			if g.Rate != nil && (!igb || g.Rate.Min == 0) {
				expect(at+"rate", [2]int{vf.Admin.MinRate, vf.Admin.MaxRate}, [2]int{g.Rate.Min, g.Rate.Max})
			}
			if g.MACAddresses.Mode == spec.MACStable {
				expect(at+"admin MAC", vf.Admin.MAC, plan.StableMAC(hw, vf.Index).String())
			}
			if driver == kernel {
				if g.MACAddresses.Mode == spec.MACStable {
					expect(at+"MAC", vf.Netdevs[0].MAC, vf.Admin.MAC)
				}
				if g.MTU != nil {
					expect(at+"mtu", vf.Netdevs[0].MTU, *g.MTU)
				} else if e.MTU != nil {
					expect(at+"mtu", vf.Netdevs[0].MTU, *e.MTU)
				}
				if g.RDMA {
					expect(at+"rdma", len(vf.RDMA), 1)
				}
				if g.VDPA != "" {
					expect(at+"vdpa", vf.VDPA != nil && vf.VDPA.Driver == string(g.VDPA)+"_vdpa", true)
				}
			}
		}
		if len(wrong) > 0 {
			t.Fatalf("%s: %s\n%q", pf.Address, strings.Join(wrong, "\n"), n.k.Writes())
		}
	}
}
