package agent

import (
	"slices"
	"sync"
)

// mostOnce bounds what a once remembers. Its keys hold names of pods and texts of
// messages, of which there is no end on a node that runs for long.
const mostOnce = 2048

// once runs a function the first time for each key, and again when the value of
// the key changed: what would be logged at each reconcile is logged once. Of more
// keys than mostOnce the half that was used least recently is forgotten.
type once struct {
	mu   sync.Mutex
	used uint64
	keys map[string]onceKey
}

type onceKey struct {
	value string
	used  uint64
}

func (o *once) do(key, value string, f func()) {
	if o.changed(key, value) {
		f()
	}
}

func (o *once) changed(key, value string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used++
	was, known := o.keys[key]
	if o.keys == nil {
		o.keys = map[string]onceKey{}
	}
	o.keys[key] = onceKey{value, o.used}
	if len(o.keys) > mostOnce {
		o.forget()
	}
	return !known || was.value != value
}

// forget drops the older half. The caller holds the lock.
func (o *once) forget() {
	ages := make([]uint64, 0, len(o.keys))
	for _, k := range o.keys {
		ages = append(ages, k.used)
	}
	slices.Sort(ages)
	middle := ages[len(ages)/2]
	for key, k := range o.keys {
		if k.used < middle {
			delete(o.keys, key)
		}
	}
}
