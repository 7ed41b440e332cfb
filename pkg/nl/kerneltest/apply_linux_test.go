package kerneltest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// address is the PCI address that stands for the device, which has none.
const address = "0000:99:00.0"

// pciView is /sys with the device at the place of a PCI one; everything else
// is the kernel's.
type pciView struct{ d *device }

func (v pciView) name(name string) string {
	if rest, ok := strings.CutPrefix(name, sysfs.Device(address)); ok {
		return devicesDir + "/" + v.d.name + rest
	}
	return name
}

func (v pciView) ReadFile(name string) ([]byte, error)  { return v.d.sys.ReadFile(v.name(name)) }
func (v pciView) ReadDir(name string) ([]string, error) { return v.d.sys.ReadDir(v.name(name)) }
func (v pciView) ReadLink(name string) (string, error)  { return v.d.sys.ReadLink(v.name(name)) }
func (v pciView) Write(name, value string) error        { return v.d.sys.Write(v.name(name), value) }

// pciLinks is the kernel's netlink, with the device at the same place.
type pciLinks struct {
	*nl.Handle
	d *device
}

func (l pciLinks) SetEswitchMode(ctx context.Context, _, _, mode string) error {
	return l.Handle.SetEswitchMode(ctx, bus, l.d.name, mode)
}

func step(key string, o op.Op) plan.Step {
	return plan.Step{ID: address + "/" + string(o.Kind()), Key: key, Op: o}
}

var onPF = op.OnPF{Address: address, Name: "netdevsim"}

func onVF[V op.Value](index int, to V) op.Attribute[V] {
	return op.Attribute[V]{OnVF: op.OnVF{OnPF: onPF, Index: index}, To: to}
}

// nowhere is a journal that keeps nothing.
type nowhere struct{}

func (nowhere) Begin(context.Context, record.Run, []string) error     { return nil }
func (nowhere) End(context.Context, record.Run, record.Outcome) error { return nil }

// nobody is a gate that finds no holders.
type nobody struct{}

func (n nobody) Begin(string) apply.Claims { return n }

func (nobody) Claim(context.Context, []string) ([]use.Holder, error) { return nil, nil }

func (nobody) Release() {}

func (d *device) apply(steps ...plan.Step) *apply.Report {
	d.t.Helper()
	a, err := apply.New(pciView{d}, apply.Options{
		Links: pciLinks{d.nl, d}, Journal: nowhere{}, Gate: nobody{},
		OnWrite: func(apply.Write) {}, OnAnswer: func(string) {},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return a.Run(d.t.Context(), &plan.PFPlan{Address: address, Name: d.pf.Name, Driver: "netdevsim", Steps: steps})
}

// All that a plan can ask of a PF in legacy mode, by the real executors.
func TestApplyAttributes(t *testing.T) {
	d := newDevice(t, 5, 0)
	rep := d.apply(
		step("", op.SetNumVFs{OnPF: onPF, N: 3}),
		step("", op.SetMTU{OnPF: onPF, Netdev: d.pf.Name, MTU: 2000}),
		step("", op.SetPFUp{OnPF: onPF}),
		step("macAddresses", op.SetVFMAC{Attribute: onVF(1, op.MAC{2, 0, 0, 0, 0, 0x21})}),
		step("vlan", op.SetVFVLAN{Attribute: onVF(1, op.VLAN{ID: 300, QoS: 6, Protocol: op.Protocol8021AD})}),
		step("trust", op.SetVFTrust{Attribute: onVF(1, op.Switch(true))}),
		step("spoofCheck", op.SetVFSpoofCheck{Attribute: onVF(1, op.Switch(true))}),
		step("queryRSS", op.SetVFQueryRSS{Attribute: onVF(1, op.Switch(true))}),
		step("linkState", op.SetVFLinkState{Attribute: onVF(1, op.LinkState("enable"))}),
		step("rate", op.SetVFRate{Attribute: onVF(1, op.Rate{Min: 20, Max: 200})}),
	)
	if rep.Err != nil || len(rep.Done) != 10 || len(rep.Problems)+len(rep.Refused) != 0 {
		t.Fatalf("%+v", rep)
	}
	on := true
	want := nl.VFInfo{
		Index: 1, MAC: []byte{2, 0, 0, 0, 0, 0x21}, VLAN: 300, QoS: 6, VLANProto: nl.Proto8021AD,
		MinRate: 20, MaxRate: 200, SpoofCheck: &on, Trust: &on, QueryRSS: &on, LinkState: nl.LinkStateEnable,
	}
	if diff := cmp.Diff(want, d.vf(1)); diff != "" {
		t.Errorf("VF 1 (-want +got):\n%s", diff)
	}
	if l, err := d.nl.Link(t.Context(), d.pf); err != nil || l.MTU != 2000 || !l.Up {
		t.Errorf("the PF is %+v, %v", l, err)
	}
}

// An attribute that the driver refuses is a problem of its VF group, which names
// driver, key and answer; the rest of the group is configured.
func TestApplyRefusal(t *testing.T) {
	d := newDevice(t, 6, 3)
	rate := step("rate", op.SetVFRate{Attribute: onVF(0, op.Rate{Max: 100})})
	rep := d.apply(
		step("", op.SetEswitchMode{OnPF: onPF, Mode: "switchdev"}),
		rate,
		step("trust", op.SetVFTrust{Attribute: onVF(0, op.Switch(true))}),
	)
	if rep.Err != nil || len(rep.Done) != 2 || !slices.Equal(rep.Refused, []string{rate.ID}) || len(rep.Problems) != 1 {
		t.Fatalf("%+v", rep)
	}
	p := rep.Problems[0]
	for _, want := range []string{"rate", "netdevsim", "EOPNOTSUPP"} {
		if !strings.Contains(p.Msg, want) || !p.Partial {
			t.Errorf("no %q in the problem %+v", want, p)
		}
	}
	if v := d.vf(0); v.Trust == nil || !*v.Trust {
		t.Errorf("after the refusal, the PF holds %+v", v)
	}

	// The same answer to a step that is no attribute of a config is an error.
	rate.Key = ""
	rep = d.apply(rate)
	var e *apply.StepError
	if !errors.As(rep.Err, &e) || !errors.Is(rep.Err, syscall.EOPNOTSUPP) || !errors.Is(rep.Err, nl.ErrUnsupported) ||
		e.Step.ID != rate.ID || !strings.Contains(e.Meaning, "EOPNOTSUPP") || e.Remedy == "" {
		t.Errorf("got %v", rep.Err)
	}
}
