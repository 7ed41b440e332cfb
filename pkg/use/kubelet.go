package use

import (
	"strings"
	"time"
)

// Pod is a pod's name, the same for a pod and for the one that replaces it.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Kubelet is what the kubelet is known to have given out: what its pod-resources
// socket answered, or why it did not, and its checkpoint.
type Kubelet struct {
	// Answered is true when a List went through.
	Answered bool
	// Listening is true when somebody listens on the socket, or it could not be found
	// out that nobody does: there is a kubelet, whatever came of the List.
	Listening bool
	// Since is when this kubelet first answered; a kubelet that has just come
	// up may not have restored its assignments yet.
	Since time.Time
	// ID identifies this kubelet among those that run one after the other; "" when
	// that is not known.
	ID string
	// Held are the assignments of running pods, by device ID.
	Held map[string][]Holder
	// Pods are those that List names, whether they have a device or not.
	Pods map[Pod]bool
	// Before are the pods, by UID, that this same kubelet named in an earlier answer:
	// one that is not among Pods any more has ended.
	Before map[string]Pod
	// Err is why not Answered, as text.
	Err string
	// Checkpoint is the kubelet's own file, read before List was asked: what is in it
	// and not in the answer has ended, and is not too young for it.
	Checkpoint Checkpoint
}

// Checkpoint is the kubelet's file of what it has allocated. The zero Checkpoint is
// that of a kubelet that has written none.
type Checkpoint struct {
	Entries []Entry
	// Names are the pods that have a log directory, by UID. An entry's pod has none
	// before its sandbox is made, and some time after it was deleted.
	Names map[string]Pod
	// Err is why it is not known what the kubelet has written; nil otherwise, also
	// when there is no file. NamesErr is why Names are not known; every entry counts
	// then.
	Err, NamesErr error
}

// Entry is what one container was given of one resource. It stays in the file when
// its pod has ended, until the kubelet writes the file again.
type Entry struct {
	PodUID, Container, Resource string
	Devices                     []string
}

// seen reports whether there is a kubelet now.
func (k *Kubelet) seen() bool { return k.Answered || k.Listening }

// Warm reports whether the kubelet answers and has had the time to restore its
// assignments.
func (k *Kubelet) Warm(now time.Time) bool { return k.Answered && now.Sub(k.Since) >= Grace }

// Entries returns who has which device by those entries of the checkpoint that count
// at the time now, by device ID. seen is as Evidence.KubeletSeen: without a kubelet in
// this boot nothing counts, because no pod can have been admitted, and what the
// file says is of the boot before.
//
// While the kubelet is silent, or has just come up, every entry counts whose pod is not
// known to have ended. Later an entry counts when its pod is one of those that the
// kubelet lists. Where it is not known
// which pod that is, it counts as long as the kubelet lists a pod that has no log
// directory, for it may be that one.
func (k *Kubelet) Entries(seen bool, now time.Time) map[string][]Holder {
	out := map[string][]Holder{}
	if !seen && !k.seen() {
		return out
	}
	all := !k.Warm(now) || !k.knowsPods()
	nameless := all || k.listsPodWithoutName()
	for i := range k.Checkpoint.Entries {
		e := &k.Checkpoint.Entries[i]
		pod, named := k.pod(e)
		if counts := all || (named && k.Pods[pod]) || (!named && nameless); !counts || k.ended(e) {
			continue
		}
		for _, id := range e.Devices {
			out[id] = append(out[id], e.holder(id, pod))
		}
	}
	return out
}

// pod returns the name of the entry's pod, as far as it is known: its log directory goes
// some time after it.
func (k *Kubelet) pod(e *Entry) (Pod, bool) {
	if pod, ok := k.Checkpoint.Names[e.PodUID]; ok {
		return pod, true
	}
	pod, ok := k.Before[e.PodUID]
	return pod, ok
}

// ended reports whether this kubelet has listed the entry's pod and does not any more.
func (k *Kubelet) ended(e *Entry) bool {
	pod, listed := k.Before[e.PodUID]
	return k.Answered && listed && !k.Pods[pod]
}

func (e *Entry) holder(id string, pod Pod) Holder {
	return Holder{
		Device: id, Namespace: pod.Namespace, Pod: pod.Name, Container: e.Container, Resource: e.Resource,
		Evidence: EvidenceCheckpoint,
		Text:     "the pod with the UID " + e.PodUID + ", which has " + id + " by the kubelet's checkpoint",
	}
}

// knowsPods reports whether the kubelet lists any pod that it has from the API server:
// it gets all of them in one message, and until then, be it for hours, lists static
// pods only. The UID of those is a hash, that of others is written with dashes.
func (k *Kubelet) knowsPods() bool {
	for uid, pod := range k.Checkpoint.Names {
		if strings.Contains(uid, "-") && k.Pods[pod] {
			return true
		}
	}
	return false
}

// listsPodWithoutName reports whether the kubelet lists a pod whose UID is not known.
func (k *Kubelet) listsPodWithoutName() bool {
	known := make(map[Pod]bool, len(k.Checkpoint.Names))
	for _, pod := range k.Checkpoint.Names {
		known[pod] = true
	}
	for pod := range k.Pods {
		if !known[pod] {
			return true
		}
	}
	return false
}
