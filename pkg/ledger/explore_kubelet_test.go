package ledger

import (
	"errors"
	"fmt"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// kubelet is the node's kubelet.
type kubelet struct {
	id     int  // of the one that runs now
	down   bool // none runs
	silent bool // its List hangs
	cold   bool // it has come up, and lists none of its pods yet
	// sent is the list that it was last sent, per resource.
	sent [2][maxDevices]bool
}

// pod is one pod's device, and the Allocate that gets it.
type pod struct {
	resource, device int
	call             callAt
	note             Allocation
	orphan           bool // the kubelet that called is gone, and with it the pod
	has              bool // the kubelet got the answer
	listed           bool // the kubelet has admitted it, and written its checkpoint
	entry            bool // it is in the checkpoint, maybe after its end
}

func (w *world) kubeletSteps(add adder) {
	k := &w.kubelet
	for i := range w.pods {
		w.podSteps(add, i)
	}
	switch {
	case k.down:
		add(func(w *world) { w.kubelet = kubelet{id: w.kubelet.id + 1, cold: true} }, "another kubelet starts")
		return
	case k.cold:
		add(func(w *world) { w.kubelet.cold = false }, "the kubelet has its pods again")
	}
	if w.silence && k.silent {
		add(func(w *world) { w.kubelet.silent = false }, "the kubelet's List works again")
	} else if w.silence {
		add(func(w *world) { w.kubelet.silent = true }, "the kubelet's List hangs")
	}
	if w.left.restarts > 0 {
		add((*world).kubeletEnds, "the kubelet ends")
	}
	if w.ledger == nil {
		return
	}
	for r := range w.names {
		if k.sent[r] != w.shelf.healthy[r] {
			add(func(w *world) { w.kubelet.sent[r] = w.shelf.healthy[r] }, "the kubelet has the list of resource %c: %v", 'a'+r, w.shelf.healthy[r][:w.devices])
		}
	}
	w.callSteps(add)
}

// kubeletEnds ends the kubelet. A pod that it had not admitted yet is admitted again by
// the next one, by another call.
func (w *world) kubeletEnds() {
	w.left.restarts--
	w.kubelet = kubelet{id: w.kubelet.id, down: true}
	for i := range w.pods {
		p := &w.pods[i]
		p.orphan = p.call != idle
		if p.has && !p.listed {
			*p = pod{}
		}
	}
}

// callSteps are the calls of Allocate: one pod is admitted after the other, with a device
// that the kubelet believes to be healthy and free.
func (w *world) callSteps(add adder) {
	slot := -1
	for i := len(w.pods) - 1; i >= 0; i-- {
		p := &w.pods[i]
		if p.call != idle && !p.orphan {
			return
		}
		if p.call == idle && !p.has {
			slot = i
		}
	}
	if slot < 0 || w.left.pods == 0 {
		return
	}
	for r := range w.names {
		for d := range w.devices {
			if w.kubelet.sent[r][d] && !w.accounted(r, d) {
				add(func(w *world) {
					w.left.pods--
					w.pods[slot] = pod{resource: r, device: d, call: called}
				}, "the kubelet asks for device %d of resource %c for pod %d", d, 'a'+r, slot)
			}
		}
	}
}

// accounted reports whether a pod has the device under the resource name: the kubelet
// keeps its accounts by name.
func (w *world) accounted(r, d int) bool {
	for _, p := range w.pods {
		if p.has && p.resource == r && p.device == d {
			return true
		}
	}
	return false
}

func (w *world) podSteps(add adder, i int) {
	p := &w.pods[i]
	if !p.has {
		return
	}
	if !p.listed && !w.kubelet.down {
		add(func(w *world) { w.pods[i].listed, w.pods[i].entry = true, true }, "the kubelet has admitted pod %d, and lists it", i)
	}
	if !w.kubelet.down {
		add(func(w *world) { w.podEnds(i) }, "pod %d ends", i)
	}
}

func (w *world) podEnds(i int) {
	p := &w.pods[i]
	if p.has, p.listed = false, false; !p.entry {
		*p = pod{}
	}
}

// unlisted reports whether a pod has a device that the kubelet does not list yet.
func (w *world) unlisted() bool {
	for _, p := range w.pods {
		if p.has && !p.listed {
			return true
		}
	}
	return false
}

var errExplored = errors.New("cannot be read")

// ask is what the kubelet answers now.
func (w *world) ask() Answer {
	k := use.Kubelet{Checkpoint: w.checkpoint()}
	id := fmt.Sprint(w.kubelet.id)
	k.Listening = !w.kubelet.down
	if w.kubelet.down || w.client.id != id {
		w.client = client{}
	}
	if w.kubelet.down || w.kubelet.silent {
		k.Err = "no answer"
		return Answer{Kubelet: k}
	}
	if w.client.since.IsZero() {
		// Two kubelets never come up at one moment.
		w.clock = w.clock.Add(1)
		w.client = client{id: id, since: w.clock}
	}
	k.Answered, k.ID, k.Since = true, id, w.client.since
	k.Held, k.Pods = map[string][]use.Holder{}, map[use.Pod]bool{}
	if w.kubelet.cold {
		return Answer{Kubelet: k}
	}
	k.Pods[use.Pod{Name: "other"}] = true
	for i, p := range w.pods {
		if p.listed {
			dev := exploredIDs[p.device]
			k.Pods[podName(i)] = true
			k.Held[dev] = append(k.Held[dev], use.Holder{Device: dev, Pod: podName(i).Name, Resource: exploredNames[p.resource], Evidence: use.EvidencePodResources})
		}
	}
	return Answer{Kubelet: k}
}

// checkpoint is the kubelet's file. An entry of a pod that has ended stays until the
// kubelet writes the file again.
func (w *world) checkpoint() use.Checkpoint {
	if w.noFile {
		return use.Checkpoint{Err: errExplored}
	}
	c := use.Checkpoint{Names: map[string]use.Pod{"uid-other": {Name: "other"}}}
	for i, p := range w.pods {
		if p.entry {
			uid := fmt.Sprintf("uid-%d", i)
			c.Names[uid] = podName(i)
			c.Entries = append(c.Entries, use.Entry{PodUID: uid, Resource: exploredNames[p.resource], Devices: []string{exploredIDs[p.device]}})
		}
	}
	return c
}

func podName(i int) use.Pod { return use.Pod{Name: fmt.Sprintf("pod-%d", i)} }
