package agent

import (
	"maps"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// opened are the VFs that a process was found to hold through vfio without the
// kubelet knowing, or that could not be asked about. They are asked about again
// until the answer is that nobody has them.
type opened struct {
	vfio use.VFIO

	mu   sync.Mutex
	held map[string]*use.Answer // by PCI address; a probe's answer is a new one
}

// probe asks about VFs that nobody can be given any more.
func (o *opened) probe(snap *inventory.Snapshot, vfs []string) {
	o.keep(o.vfio.OpenVFs(snap, vfs))
}

// take returns those of the VFs that a process has open for certain, and keeps them in
// mind. It is for VFs that no pod is known to have.
func (o *opened) take(snap *inventory.Snapshot, vfs []string) map[string]use.Answer {
	taken := o.vfio.Taken(snap, vfs)
	o.keep(taken)
	return taken
}

func (o *opened) keep(found map[string]use.Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held == nil {
		o.held = map[string]*use.Answer{}
	}
	for id, a := range found {
		o.held[id] = &a
	}
}

// now is what is still held of what was found. given reports whether a VF was
// given to a pod: then that pod is its holder and may open it at any time, so
// it is not asked about. The gate asks again before a step that takes it away.
func (o *opened) now(snap *inventory.Snapshot, given func(id string) bool) map[string]use.Answer {
	o.mu.Lock()
	before := maps.Clone(o.held)
	o.mu.Unlock()
	if len(before) == 0 {
		return nil
	}
	var ask []string
	for id := range before {
		if !given(id) {
			ask = append(ask, id)
		}
	}
	still := o.vfio.OpenVFs(snap, ask)
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, was := range before {
		if o.held[id] != was {
			continue // a probe has asked since
		}
		delete(o.held, id)
		if a, ok := still[id]; ok {
			o.held[id] = &a
		}
	}
	out := make(map[string]use.Answer, len(o.held))
	for id, a := range o.held {
		out[id] = *a
	}
	return out
}
