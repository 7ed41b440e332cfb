package apply_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
)

// locks are the CNI plugin's locks of VFs.
type locks struct {
	mu     sync.Mutex
	held   map[string]bool // by PCI address
	taken  int
	others map[string]bool // VFs that an ADD is at work on
}

var errLocked = errors.New("the plugin has it")

func (l *locks) LockVF(_ context.Context, vf string) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.others[vf] || l.held[vf] {
		return nil, errLocked
	}
	l.held[vf] = true
	l.taken++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, vf)
	}, nil
}

// now returns which VFs are locked.
func (l *locks) now() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]bool{}
	for vf := range l.held {
		out[vf] = true
	}
	return out
}

// Each write of a VF's attribute is made under the VF's lock, and nothing else is.
// A VF that the CNI plugin is at work on keeps no other VF waiting, and gets its
// attributes once that is over.
func TestAttributesUnderTheLockOfTheVF(t *testing.T) {
	l := &locks{held: map[string]bool{}, others: map[string]bool{}}
	e := pfEntry(pf0, 4, everything())
	e.MTU = ptr(9000)
	n := newNode(doc(e))
	var wrong []string
	o := n.options()
	o.VFLocks = l
	o.OnWrite = func(w apply.Write) {
		held, kind := l.now(), string(w.Step.Op.Kind())
		attribute := strings.HasPrefix(kind, "vf-") && kind != "vf-unbind" && kind != "vf-override" && kind != "vf-probe"
		ok := len(held) == 0
		if attribute {
			ok = len(held) == 1 && held[n.k.Snapshot().PF(w.PF).VFs[w.Step.Op.VFs()[0]].Address]
		}
		if !ok {
			wrong = append(wrong, w.Step.ID)
		}
	}
	n.a = newApplier(n.k, o)
	n.converge(t)
	if len(wrong) > 0 || l.taken < 16 {
		t.Errorf("%d locks taken; without the lock, or under it: %v", l.taken, wrong)
	}

	vfs := n.k.Snapshot().PF(pf0).VFs
	link := n.link(t, pf0)
	for i := range 4 {
		if err := n.k.SetVFTrust(t.Context(), link, i, false); err != nil {
			t.Fatal(err)
		}
	}
	l.others[vfs[1].Address] = true
	rep := n.a.Run(t.Context(), n.plan())
	if err := rep.Err(); !errors.Is(err, errLocked) || !strings.Contains(err.Error(), vfs[1].Address) {
		t.Errorf("the error is %v", err)
	}
	for i, vf := range n.k.Snapshot().PF(pf0).VFs {
		if vf.Admin.Trust != (i != 1) {
			t.Errorf("VF %d has trust %v while an ADD is at work on VF 1", i, vf.Admin.Trust)
		}
	}
	delete(l.others, vfs[1].Address)
	n.converge(t)
	if !n.k.Snapshot().PF(pf0).VFs[1].Admin.Trust || len(l.now()) > 0 {
		t.Errorf("VF 1 was left behind, or locked: %v", l.now())
	}
}

// A write that the kernel does not answer in time does not keep the plugin from the
// VF, nor the file of the lock open.
func TestStuckWriteGivesTheLockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &locks{held: map[string]bool{}, others: map[string]bool{}}
		n := newNode(doc(pfEntry(pf0, 4, everything())))
		o := n.options()
		o.VFLocks = l
		n.a = newApplier(n.k, o)
		answer := make(chan struct{})
		n.k.Faults(func(name, _ string) modelkernel.Fault {
			if strings.HasPrefix(name, "netlink/") && strings.Contains(name, "/vf") {
				return modelkernel.Fault{Until: answer}
			}
			return modelkernel.Fault{}
		})
		rep := n.a.Run(t.Context(), n.plan())
		if !rep.PFs[0].Stuck || l.taken == 0 || len(l.now()) > 0 {
			t.Errorf("stuck %v, %d locks taken, held %v: %v", rep.PFs[0].Stuck, l.taken, l.now(), rep.Err())
		}
		close(answer)
	})
}
