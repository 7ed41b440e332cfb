package plan_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// failing makes netlink's answer to what fail with the errno.
func failing(k *modelkernel.Kernel, errno unix.Errno, what ...string) {
	k.FailNetwork(func(asked string) error {
		if slices.Contains(what, asked) {
			return errno
		}
		return nil
	})
}

// TestOnlyPositiveEvidence: whatever is not known, or not quiet, leaves a PF alone
// for as long as it is so, records nothing, and says at once what is missing and what to
// write; allowUplink makes the VFs at once.
func TestOnlyPositiveEvidence(t *testing.T) {
	uplink := func(k *modelkernel.Kernel) {
		k.SetAddrs("enp33s0", "10.0.0.5/24")
		k.SetDefaultRoute("enp33s0")
	}
	for name, c := range map[string]struct {
		do func(k *modelkernel.Kernel)
		// say is in the problem's text, hint in what to do.
		say, hint string
		refused   bool
	}{
		"the list of interfaces fails": {do: func(k *modelkernel.Kernel) { uplink(k); failing(k, unix.ENOBUFS, modelkernel.AskLinks) }, say: "no buffer space"},
		"the list of addresses fails":  {do: func(k *modelkernel.Kernel) { failing(k, unix.EINTR, modelkernel.AskAddrs) }, say: "addresses: interrupted"},
		"the list of routes fails":     {do: func(k *modelkernel.Kernel) { failing(k, unix.EBUSY, modelkernel.AskRoutes) }, say: "routes: device or resource busy"},
		"addresses and routes fail": {
			do: func(k *modelkernel.Kernel) {
				uplink(k)
				failing(k, unix.ENOBUFS, modelkernel.AskAddrs, modelkernel.AskRoutes)
			}, say: "addresses: no buffer space available; routes: no buffer space available",
		},
		"an address is seen, the routes are not": {
			do: func(k *modelkernel.Kernel) { uplink(k); failing(k, unix.ENOBUFS, modelkernel.AskRoutes) }, say: "carries the address 10.0.0.5/24", refused: true,
		},
		"a route by another interface, the link down": {
			do: func(k *modelkernel.Kernel) {
				k.SetDefaultRoute("enp65s0")
				k.Plug(igb0, false)
			}, say: "enp33s0 has no link", hint: "plug it in",
		},
		"the interface is down": {do: func(k *modelkernel.Kernel) {
			if err := k.SetUp(t.Context(), link(t, k, igb0), false); err != nil {
				t.Fatal(err)
			}
		}, say: "enp33s0 is down", hint: "machine config"},
		"a port of a bond without an address": {
			do: func(k *modelkernel.Kernel) { k.AddLink("bond0", "bond", ""); k.SetMaster("enp33s0", "bond0") }, say: "bond0 (bond) is on top of",
		},
		"below a VLAN without an address": {
			do: func(k *modelkernel.Kernel) { k.AddLink("enp33s0.7", "vlan", "enp33s0") }, say: "enp33s0.7 (vlan) is on top of",
		},
		"PPP over an interface that is not shown": {
			do: func(k *modelkernel.Kernel) { k.AddLink("ppp0", "ppp", ""); k.SetDefaultRoute("ppp0") }, say: "ppp0 carries it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := machine()
			c.do(k)
			var watch plan.Watch
			in := plan.Input{Config: config(entry(4, 4, "enp33s0")), SpecHash: "h", BootID: "b"}
			now := time.Unix(1e9, 0)
			for range 3 {
				in.Snapshot = k.Snapshot()
				in.Quiet, _ = watch.See(in.Snapshot, now, 10*time.Second)
				now = now.Add(time.Hour)
			}
			p := planned(in)
			f := p.PF(igb0)
			if len(f.Steps) > 0 || f.Safe || len(f.Problems) != 1 {
				t.Fatalf("steps %v, safe %v, problems %v", f.Steps, f.Safe, f.Problems)
			}
			pr := f.Problems[0]
			if pr.Pending == c.refused || pr.Settling || !strings.Contains(pr.Msg, c.say) || !strings.Contains(pr.Hint, c.hint) || !strings.Contains(pr.Hint, "`allowUplink: true`") {
				t.Errorf("problem %+v, want %q, hint %q", pr, c.say, c.hint)
			}
			if st, _ := (record.Record{BootID: "b"}).Proven(p.Evidence(), "h"); st.PFs[igb0].SafeSpec != "" {
				t.Error("recorded as safe")
			}

			// Quiet in the eyes of somebody is worth nothing against the snapshot.
			in.Quiet = plan.Quiet{igb0: true}
			if f := planned(in).PF(igb0); len(f.Steps) > 0 || f.Safe {
				t.Error("an older look outweighs the snapshot")
			}
			if !c.refused {
				in.Record, _ = record.Record{BootID: "b"}.Proven([]record.Evidence{{Card: record.Card{Address: igb0, Device: "8086:10c9"}, Safe: true}}, "h")
				if len(planned(in).PF(igb0).Steps) == 0 {
					t.Error("an earlier proof under the same config does not count")
				}
				in.SpecHash = "other"
				if len(planned(in).PF(igb0).Steps) > 0 {
					t.Error("a proof under another document counts")
				}
			}
			in.Config.PhysicalFunctions[0].AllowUplink = true
			in.Quiet = nil
			if !slices.ContainsFunc(planned(in).PF(igb0).Steps, func(s plan.Step) bool { return s.Op.Kind() == op.KindNumVFs }) {
				t.Error("allowUplink does not make the VFs")
			}
		})
	}
}

// TestPFWithoutInterface: no interface is evidence only where none is made.
func TestPFWithoutInterface(t *testing.T) {
	for name, c := range map[string]struct {
		class, driver string
		quiet         bool
	}{
		"bound for user space":                     {"020000", "vfio-pci", true},
		"a stub that makes VFs":                    {"020000", "pci-pf-stub", true},
		"an accelerator":                           {"120000", "qat", true},
		"InfiniBand without IPoIB":                 {"020700", "mlx5_core", true},
		"an interface that is away or still comes": {"020000", "igb", false},
		"no driver":                                {"020000", "", false},
	} {
		s := &inventory.Snapshot{Network: inventory.NetworkAnswers{Complete: true}, PFs: []inventory.PF{{
			Function: inventory.Function{Address: igb0, Class: c.class, Driver: c.driver}, TotalVFs: 4,
		}}}
		if got := plan.QuietNow(s)[igb0]; got != c.quiet {
			t.Errorf("%s: quiet %v, want %v", name, got, c.quiet)
		}
		s.Network.Complete = false
		if len(plan.QuietNow(s)) > 0 {
			t.Errorf("%s: quiet without an answer of the kernel", name)
		}
	}
}

// TestWatch: quiet for long enough means in every snapshot, of one card.
func TestWatch(t *testing.T) {
	const wait = 10 * time.Second
	k := machine()
	var w plan.Watch
	now := time.Unix(1e9, 0)
	all := []string{cx7, igb0, igb1}
	see := func(after time.Duration, next time.Duration, want ...string) {
		t.Helper()
		now = now.Add(after)
		quiet, again := w.See(k.Snapshot(), now, wait)
		if got := slices.Sorted(maps.Keys(quiet)); !slices.Equal(got, want) || again != next {
			t.Errorf("quiet %v, next %v; want %v, %v", got, again, want, next)
		}
	}
	see(0, wait)
	see(4*time.Second, 6*time.Second)
	k.Plug(igb0, false)
	see(time.Second, 5*time.Second)
	k.Plug(igb0, true)
	see(time.Second, 4*time.Second)
	see(4*time.Second, 6*time.Second, cx7, igb1)
	failing(k, unix.ENOBUFS, modelkernel.AskAddrs)
	see(time.Second, 0)
	k.FailNetwork(nil)
	see(time.Second, wait)
	see(wait, 0, all...)
	k.SetAddrs("enp33s0", "10.0.0.5/24")
	see(time.Second, 0, cx7, igb1)
	k.SetAddrs("enp33s0")
	see(time.Second, wait, cx7, igb1)
	see(wait, 0, all...)
	k.RemovePF(igb0)
	k.AddPF(modelkernel.PF{Address: igb0, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:77"})
	see(time.Second, wait, cx7, igb1)
	now = now.Add(-time.Hour) // a clock that was set back begins from the start
	see(0, wait)
}

// TestLinkStepsWaitForAnswers: allowUplink makes VFs without any answer, but what may
// take the link down waits until it is known that the PF is not the only way out.
func TestLinkStepsWaitForAnswers(t *testing.T) {
	k := machine()
	failing(k, unix.ENOBUFS, modelkernel.AskRoutes)
	e := entry(4, 4, "enp33s0")
	e.AllowUplink, e.MTU = true, ptr(9000)
	in := plan.Input{Config: config(e), Snapshot: k.Snapshot()}
	f := planned(in).PF(igb0)
	if slices.ContainsFunc(f.Steps, func(s plan.Step) bool { return s.Disruption == plan.DisruptLink }) || len(f.Steps) == 0 ||
		len(f.Problems) != 1 || !f.Problems[0].Pending || !strings.Contains(f.Problems[0].Msg, "no buffer space") {
		t.Errorf("%+v", f)
	}
	k.FailNetwork(nil)
	in.Snapshot = k.Snapshot()
	if f := planned(in).PF(igb0); len(f.Problems) > 0 {
		t.Errorf("%+v", f)
	}
}

// TestLeftPFIsResetWithEvidence: what is reset on a PF that left the
// config needs the same evidence as what is made on it.
func TestLeftPFIsResetWithEvidence(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
	made := record.Record{BootID: "b", PFs: map[string]record.PF{igb0: {
		Device: "8086:10c9", Made: &record.Made{Wrote: map[record.Setting][]string{record.NumVFs: {"4"}}},
	}}}
	steps := func(in plan.Input) *plan.PFPlan {
		in.BootID, in.Snapshot, in.Use = "b", k.Snapshot(), judged(k, nil)
		return planned(in).PF(igb0)
	}
	if f := steps(plan.Input{Record: made, Quiet: plan.Quiet{igb0: true}}); len(f.Steps) == 0 {
		t.Errorf("quiet: %+v", f)
	}
	safe := made.Clone()
	r := safe.PFs[igb0]
	r.SafeSpec = "h"
	safe.PFs[igb0] = r
	failing(k, unix.ENOBUFS, modelkernel.AskLinks)
	if f := steps(plan.Input{Record: made, Quiet: plan.Quiet{igb0: true}}); len(f.Steps) > 0 || len(f.Notices) != 1 {
		t.Errorf("nothing known: %+v", f)
	}
	if f := steps(plan.Input{Record: safe}); len(f.Steps) == 0 {
		t.Errorf("found safe under the config that made it: %+v", f)
	}
}

func TestMissingAnswerIsNamed(t *testing.T) {
	k := machine()
	k.FailNetwork(func(string) error { return errors.New("broken") })
	n := k.Snapshot().Network
	if n.Complete || !strings.Contains(n.Missing, "interfaces: broken") {
		t.Errorf("%+v", n)
	}
	s, err := inventory.Read(t.Context(), k, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Network.Complete || s.Network.Missing == "" || len(plan.QuietNow(s)) > 0 {
		t.Errorf("without netlink: %+v", s.Network)
	}
}
